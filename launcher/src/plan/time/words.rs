//! What pre-training has beside the encoder, on a card: the decoder's layer, and the projection to the vocabulary.
//!
//! Legend: R the decoder's rows, T tokens, K labels of both sides, V vocabulary, d hidden size, f intermediate size.

use tercet_configs::limits::logits_rows;

use super::counts::{
    GELU, GELU_BACK, LAYER_BACK_LAUNCHES, LAYER_LAUNCHES, LOGITS, LOGITS_BACK, NORM, NORM_BACK, VISIBLE, VISIBLE_BACK,
};
use super::layers::Layers;
use super::spent::Spent;
use crate::plan::work::Encoded;

/// Decoder and projection, forward and backward, over `texts`, in `num_sub_batches` of about one size.
pub fn passes(on: &Layers, texts: &Encoded, num_sub_batches: f64) -> [Spent; 2] {
    if num_sub_batches == 0.0 {
        return [Spent::default(); 2];
    }
    let one = texts.share(1.0 / num_sub_batches);
    let (decoder, projection) = (decoder(on, &one), projection(on, one.predicted.labels()));
    [0, 1].map(|way| (decoder[way] + projection[way]) * num_sub_batches)
}

/// The map before the projection, and the projection a tile of rows at a time.
fn projection(on: &Layers, labels: f64) -> [Spent; 2] {
    let (shape, types) = (on.shape, on.types());
    let (d, words) = (shape.config.hidden_size as f64, shape.config.vocab_size as f64);
    let tile = (logits_rows(true, shape.config.vocab_size, shape.element_bytes) as f64).min(labels.max(1.0));
    let (map, tiles) = (on.maps(labels, &[(d, d)]), labels / tile);
    let logits = on.maps(tile, &[(d, words)]).map(|secs| secs * tiles);
    let moved = [LOGITS, LOGITS_BACK].map(|moved| moved.bytes(labels * words, types));
    let rest = [(GELU, NORM), (GELU_BACK, NORM_BACK)]
        .map(|(gelu, norm)| gelu.bytes(labels * d, types) + norm.bytes(labels * d, types));
    [0, 1].map(|way| Spent {
        products: map[way] + logits[way],
        memory: on.speed.memory(moved[way] + rest[way]),
        ..Spent::default()
    })
}

/// One layer whose queries are the rows, and whose keys and values are the tokens.
fn decoder(on: &Layers, texts: &Encoded) -> [Spent; 2] {
    let (config, types) = (&on.shape.config, on.types());
    let (rows, d, f) = (texts.predicted.decoder_labels, config.hidden_size as f64, config.intermediate_size as f64);
    if rows == 0.0 {
        return [Spent::default(); 2];
    }
    let of_rows = on.maps(rows, &[(d, d), (d, d), (d, f), (f, d)]);
    let of_tokens = on.maps(texts.tokens, &[(d, 2.0 * d)]);
    let product = on.speed.product(2.0 * d * texts.predicted.decoder_pairs, 0.0);
    let probabilities = config.num_attention_heads as f64 * texts.predicted.decoder_pairs;
    let visible = [VISIBLE, VISIBLE_BACK].map(|moved| moved.bytes(probabilities, types));
    let rest = [(NORM, GELU), (NORM_BACK, GELU_BACK)]
        .map(|(norm, gelu)| 2.0 * norm.bytes(rows * d, types) + gelu.bytes(rows * f, types));
    // Two products forward; on the way back the first once more, and four.
    let products = [2.0 * product, 5.0 * product];
    let launches = [LAYER_LAUNCHES, LAYER_BACK_LAUNCHES];
    [0, 1].map(|way| Spent {
        products: of_rows[way] + of_tokens[way] + products[way],
        attention: 0.0,
        memory: on.speed.memory(visible[way] + rest[way]),
        launches: launches[way],
    })
}

#[cfg(test)]
mod tests {
    use tercet_configs::LossPreset;

    use super::*;
    use crate::plan::predicted::Predicted;
    use crate::plan::time::layers::tests::large;
    use crate::plan::time::speed::tests::round;

    #[test]
    fn words_by_hand() {
        let (speed, shape) = (round(), large(LossPreset::Retromae));
        let on = Layers { speed: &speed, shape: &shape };
        // 536 rows make a tile of 512 MiB of logits. The product is 5.5 ms at 100 TFLOP/s if its rate decides; the
        // table's gradient reads and writes 2 GB in 2 ms.
        let [forward, backward] = projection(&on, 536.0);
        let product = 2.0 * 536.0 * 1024.0 * 250_002.0 / 100e12;
        let map = 2.0 * 536.0 * 1024.0 * 1024.0 / 100e12;
        assert!((forward.products - product - map).abs() < 1e-6, "{forward:?}");
        assert!((backward.products - 2.0 * (product + map)).abs() < 2e-4, "{backward:?}");
        let logits = 536.0 * 250_002.0 / 1e12;
        assert!((forward.memory - 32.0 * logits).abs() < 1e-4 && (backward.memory - 38.0 * logits).abs() < 1e-4);

        let predicted = Predicted { encoder_labels: 0.0, decoder_labels: 510.0, decoder_pairs: 510.0 * 512.0 };
        let texts = Encoded { num_texts: 1.0, tokens: 512.0, squares: 512.0 * 512.0, longest: 512.0, predicted };
        let [forward, backward] = decoder(&on, &texts);
        // 16 heads, 10 and 20 passes of 2 bytes; norms of 8 bytes, activations of 4 and 8, four times as wide.
        let probabilities = 16.0 * 510.0 * 512.0;
        let rows = 510.0 * 1024.0;
        assert!((forward.memory - (20.0 * probabilities + 32.0 * rows) / 1e12).abs() < 1e-12, "{forward:?}");
        assert!((backward.memory - (40.0 * probabilities + 48.0 * rows) / 1e12).abs() < 1e-12, "{backward:?}");
        assert_eq!((forward.launches, backward.launches), (8.0, 18.0));
        let both = passes(&on, &texts, 1.0);
        assert!(both[0].products > forward.products && passes(&on, &texts, 0.0)[0] == Spent::default());
    }
}
