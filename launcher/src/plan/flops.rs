//! Floating-point operations of one rank's step: the model's two passes, and the scores.
//!
//! A multiply-add counts as two. Only matrix products are counted; on long enough rows everything else is memory
//! traffic that a rate measured with `--measure` contains and a data sheet's rate does not.
//!
//! In pre-training there are neither scores nor a second forward pass. The decoder's attention counts as if its rows
//! saw all of their text, for the products are of all; that it is computed once more on the way back is not counted,
//! and neither is the decoder's further forward pass in a step that looks at what the sentence vector carries.
//!
//! Legend: d hidden size, Q local queries, P all ranks' passages, U distinct tokens of the queries, L tokens of a text.

use serde::Serialize;
use tercet_configs::{ModelShape, Purpose};

use super::work::{Encoded, RankLoad};

/// What one rank computes in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepFlops {
    /// First pass of the encoder and of what stands on it.
    pub forward: f64,
    /// The second forward pass of the sub-batches whose graphs are not kept.
    pub recomputed: f64,
    /// The same backward: twice the forward pass.
    pub backward: f64,
    /// Score matrices and their gradients.
    pub scores: f64,
}

impl StepFlops {
    /// The operations of a rank with this load, `num_global_passages` being P.
    pub fn of(shape: &ModelShape, load: &RankLoad, num_global_passages: f64) -> Self {
        let all = forward(shape, &load.encoded);
        Self {
            forward: all,
            recomputed: all - forward(shape, &load.kept),
            backward: 2.0 * all,
            scores: scores(shape, load, num_global_passages).iter().sum(),
        }
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.forward + self.recomputed + self.backward + self.scores
    }
}

/// One forward pass over the whole model.
pub fn forward(shape: &ModelShape, texts: &Encoded) -> f64 {
    let decoder = if shape.purpose == (Purpose::Pretraining { decoder: true }) { decoder(shape, texts) } else { 0.0 };
    encoder(shape, texts) + decoder + vocabulary(shape, texts)
}

/// The decoder: queries of its rows, keys and values of all tokens, attention, and the rest of the layer row by row.
fn decoder(shape: &ModelShape, texts: &Encoded) -> f64 {
    let (d, ffn) = (shape.config.hidden_size as f64, shape.config.intermediate_size as f64);
    let rows = texts.predicted.decoder_labels;
    rows * (4.0 * d * d + 4.0 * d * ffn) + texts.tokens * 4.0 * d * d + 4.0 * d * texts.predicted.decoder_pairs
}

/// The head that predicts words, at the labels of both sides.
fn vocabulary(shape: &ModelShape, texts: &Encoded) -> f64 {
    let (d, words) = (shape.config.hidden_size as f64, shape.config.vocab_size as f64);
    texts.predicted.labels() * (2.0 * d * d + 2.0 * d * words)
}

/// One forward pass over encoder and heads.
pub fn encoder(shape: &ModelShape, texts: &Encoded) -> f64 {
    let layer = layer(shape, texts);
    let last = if shape.only_cls { cls_layer(shape, texts) } else { layer };
    let d = shape.config.hidden_size as f64;
    let lexical = if shape.heads.lexical { 2.0 * d } else { 0.0 };
    let multi_vector = if shape.heads.multi_vector { 2.0 * d * shape.multi_vector_dim as f64 } else { 0.0 };
    (shape.config.num_hidden_layers as f64 - 1.0) * layer + last + texts.tokens * (lexical + multi_vector)
}

/// One layer: four d × d maps and two d × ffn; attention's two products, L × L × d each.
pub fn layer(shape: &ModelShape, texts: &Encoded) -> f64 {
    let (d, ffn) = (shape.config.hidden_size as f64, shape.config.intermediate_size as f64);
    texts.tokens * (8.0 * d * d + 4.0 * d * ffn) + 4.0 * d * texts.squares
}

/// The last layer where CLS alone is wanted: it does for the other tokens no more than their keys and values.
pub fn cls_layer(shape: &ModelShape, texts: &Encoded) -> f64 {
    let (d, ffn) = (shape.config.hidden_size as f64, shape.config.intermediate_size as f64);
    texts.tokens * (4.0 * d * d + 4.0 * d) + texts.num_texts * (4.0 * d * d + 4.0 * d * ffn)
}

/// Forward, and backward to queries and to passages.
pub fn scores(shape: &ModelShape, load: &RankLoad, num_global_passages: f64) -> [f64; 2] {
    let (q, p) = (load.num_queries, num_global_passages);
    let dense = 2.0 * q * p * shape.config.hidden_size as f64;
    let lexical = if shape.heads.lexical { 2.0 * q * p * load.query_vocabulary } else { 0.0 };
    let multi_vector = if shape.heads.multi_vector {
        // Every pair of vectors forward; backward goes by the one winner per query vector and passage.
        let vectors = load.passage_vectors / load.num_passages.max(1.0) * p;
        let dim = shape.multi_vector_dim as f64;
        [2.0 * load.query_vectors * vectors * dim, 2.0 * 2.0 * load.query_vectors * p * dim]
    } else {
        [0.0; 2]
    };
    [dense + lexical + multi_vector[0], 2.0 * (dense + lexical) + multi_vector[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::predicted::Predicted;
    use crate::plan::shape_of_tests::{pretraining_shape, shape};

    fn load() -> RankLoad {
        let encoded = Encoded { num_texts: 2.0, tokens: 10.0, squares: 58.0, ..Encoded::default() };
        let kept = Encoded { num_texts: 1.0, tokens: 7.0, squares: 49.0, ..Encoded::default() };
        RankLoad {
            encoded,
            kept,
            num_queries: 3.0,
            num_passages: 2.0,
            query_vectors: 5.0,
            passage_vectors: 8.0,
            query_vocabulary: 6.0,
            ..RankLoad::default()
        }
    }

    #[test]
    fn a_dense_step_by_hand() {
        // d 8, ffn 16, 2 layers: per token and layer 8·64 + 4·128 = 1024; attention 32 per square. In the last layer
        // 4·64 + 4·8 = 288 a token and 4·64 + 4·128 = 768 a text.
        let flops = StepFlops::of(&shape(false), &load(), 4.0);
        let forward = 10.0 * 1024.0 + 32.0 * 58.0 + 10.0 * 288.0 + 2.0 * 768.0;
        let kept = 7.0 * 1024.0 + 32.0 * 49.0 + 7.0 * 288.0 + 768.0;
        assert_eq!(flops.forward, forward);
        assert_eq!((flops.recomputed, flops.backward), (forward - kept, 2.0 * forward));
        assert_eq!(flops.scores, 3.0 * 2.0 * 3.0 * 4.0 * 8.0);
        assert_eq!(flops.total(), 4.0 * forward - kept + 576.0);
    }

    #[test]
    fn all_heads_by_hand() {
        let flops = StepFlops::of(&shape(true), &load(), 4.0);
        // Lexical 2·8 and multi-vector 2·8·4 a token.
        assert_eq!(flops.forward, 2.0 * (10.0 * 1024.0 + 32.0 * 58.0) + 10.0 * (16.0 + 64.0));
        // Dense 576; lexical 6·3·4·6; multi-vector 2·5·16·4 forward (8 vectors in 2 passages are 16 in 4), 4·5·4·4
        // back.
        assert_eq!(flops.scores, 576.0 + 432.0 + 640.0 + 320.0);
    }

    #[test]
    fn pre_training_by_hand() {
        // Texts of 7 and 3 tokens: 5 and 1 rows, 38 pairs, and 2 and 1 labels of the encoder.
        let predicted = Predicted { encoder_labels: 3.0, decoder_labels: 6.0, decoder_pairs: 38.0 };
        let encoded = Encoded { num_texts: 2.0, tokens: 10.0, squares: 58.0, predicted, ..Encoded::default() };
        let load = RankLoad { encoded, kept: encoded, num_queries: 2.0, ..RankLoad::default() };
        let flops = StepFlops::of(&pretraining_shape(), &load, 0.0);
        let encoder = 2.0 * (10.0 * 1024.0 + 32.0 * 58.0);
        // A row 4·64 + 4·128, a token's key and value 4·64, 32 a pair; a label 2·64 + 2·8·100.
        let decoder = 6.0 * 768.0 + 10.0 * 256.0 + 32.0 * 38.0;
        let forward = encoder + decoder + 9.0 * (128.0 + 1600.0);
        assert_eq!((flops.forward, flops.backward), (forward, 2.0 * forward));
        assert_eq!((flops.recomputed, flops.scores), (0.0, 0.0));
    }
}
