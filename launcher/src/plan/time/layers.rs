//! Embeddings, layers and heads on a card: one sub-batch, forward and backward.
//!
//! Legend: T tokens, d hidden size, f intermediate size, c and e bytes of an element in the encoder's and the weights'
//! type.

use tercet_configs::ModelShape;

use super::counts::{
    ATTENTION, ATTENTION_BACK, EMBED, EMBED_BACK, GELU, GELU_BACK, LAYER_BACK_LAUNCHES, LAYER_LAUNCHES, Moved, NORM,
    NORM_BACK, QKV_BACK, SUB_BATCH_LAUNCHES, VECTOR, VECTOR_BACK,
};
use super::speed::Speed;
use super::spent::Spent;
use crate::plan::flops::{cls_layer, layer};
use crate::plan::work::Encoded;

/// A model on a card.
pub struct Layers<'a> {
    /// How fast the card is.
    pub speed: &'a Speed,
    /// The model.
    pub shape: &'a ModelShape,
}

impl Layers<'_> {
    /// The forward and the backward pass over `texts`, in `num_sub_batches` of about one size.
    pub fn passes(&self, texts: &Encoded, num_sub_batches: f64) -> [Spent; 2] {
        if num_sub_batches == 0.0 {
            return [Spent::default(); 2];
        }
        let one = texts.share(1.0 / num_sub_batches);
        // The last layer of a dense head is a part of one.
        let last = if self.shape.only_cls { cls_layer(self.shape, &one) / layer(self.shape, &one) } else { 1.0 };
        let num_layers = self.shape.config.num_hidden_layers as f64 - 1.0 + last;
        let (layer, ends) = (self.layer(&one), self.ends(&one));
        [0, 1].map(|way| (layer[way] * num_layers + ends[way]) * num_sub_batches)
    }

    /// A layer, forward and backward.
    fn layer(&self, texts: &Encoded) -> [Spent; 2] {
        let c = &self.shape.config;
        let (tokens, d, f) = (texts.tokens, c.hidden_size as f64, c.intermediate_size as f64);
        let maps = self.maps(tokens, &[(d, 3.0 * d), (d, d), (d, f), (f, d)]);
        let moved = |one: f64, activated: f64| self.speed.memory(tokens * (one * d + activated * f));
        let [norm, norm_back] = [NORM, NORM_BACK].map(|moved| 2.0 * moved.bytes(1.0, self.types()));
        let [gelu, gelu_back] = [GELU, GELU_BACK].map(|moved| moved.bytes(1.0, self.types()));
        let qkv_back = 3.0 * QKV_BACK.bytes(1.0, self.types());
        let attention = self.attention(texts);
        [
            Spent { products: maps[0], attention: attention[0], memory: moved(norm, gelu), launches: LAYER_LAUNCHES },
            Spent {
                products: maps[1],
                attention: attention[1],
                memory: moved(norm_back + qkv_back, gelu_back),
                launches: LAYER_BACK_LAUNCHES,
            },
        ]
    }

    /// The work of two products forward, and of five backward because the first is made again.
    fn attention(&self, texts: &Encoded) -> [f64; 2] {
        let d = self.shape.config.hidden_size as f64;
        let (len, product) = (texts.squares / texts.tokens.max(1.0), 2.0 * d * texts.squares);
        let bytes = [ATTENTION, ATTENTION_BACK].map(|moved| moved.bytes(texts.tokens * d, self.types()));
        [self.speed.attention(len, 2.0 * product, bytes[0]), self.speed.attention(len, 5.0 * product, bytes[1])]
    }

    /// Linear maps of `rows` between the widths, forward and backward.
    pub fn maps(&self, rows: f64, widths: &[(f64, f64)]) -> [f64; 2] {
        let [compute, wide] = self.types().map(|bytes| bytes as f64);
        let each = |way: fn(&Speed, f64, f64, [f64; 3]) -> f64| {
            let map = |&(k, n): &(f64, f64)| {
                let elements = [rows * k, rows * n, k * n];
                way(self.speed, 2.0 * rows * k * n, compute, [wide, elements.iter().sum(), elements[2]])
            };
            widths.iter().map(map).sum::<f64>()
        };
        [
            each(|speed, flops, compute, [_, elements, _]| speed.product(flops, compute * elements)),
            // The input's gradient, and the weights', which is added to in the weights' type.
            each(|speed, flops, compute, [wide, elements, weights]| {
                speed.product(flops, compute * elements)
                    + speed.product(flops, compute * (elements - weights) + 2.0 * wide * weights)
            }),
        ]
    }

    /// What stands before and after the layers.
    fn ends(&self, texts: &Encoded) -> [Spent; 2] {
        let d = self.shape.config.hidden_size as f64;
        let dim = self.shape.multi_vector_dim as f64;
        let head = if self.shape.heads.multi_vector { self.maps(texts.tokens, &[(d, dim)]) } else { [0.0; 2] };
        let vectors = if self.shape.heads.multi_vector { texts.tokens * dim } else { 0.0 };
        let bytes = |embed: Moved, vector: Moved| {
            embed.bytes(texts.tokens * d, self.types()) + vector.bytes(vectors, self.types())
        };
        let spent = |products: f64, bytes: f64, launches: f64| Spent {
            products,
            attention: 0.0,
            memory: self.speed.memory(bytes),
            launches,
        };
        [
            spent(head[0], bytes(EMBED, VECTOR), SUB_BATCH_LAUNCHES[0]),
            spent(head[1], bytes(EMBED_BACK, VECTOR_BACK), SUB_BATCH_LAUNCHES[1]),
        ]
    }

    /// c and e.
    pub fn types(&self) -> [usize; 2] {
        [self.shape.compute_bytes, self.shape.element_bytes]
    }
}

#[cfg(test)]
pub mod tests {
    use tercet_configs::{EncoderConfig, LossPreset, LossSection, ModelSection, Pooling, Precision};

    use super::*;
    use crate::plan::time::speed::tests::round;

    /// XLM-RoBERTa large in bfloat16.
    pub fn large(preset: LossPreset) -> ModelShape {
        let json = serde_json::json!({
            "model_type": "xlm-roberta", "vocab_size": 250_002, "hidden_size": 1024, "num_hidden_layers": 24,
            "num_attention_heads": 16, "intermediate_size": 4096, "max_position_embeddings": 8194,
            "pad_token_id": 1, "type_vocab_size": 1,
        });
        let config = EncoderConfig::from_json(json.as_object().unwrap().clone()).unwrap();
        let loss = LossSection { preset, ..LossSection::default() };
        ModelShape::new(config, &ModelSection::default(), &loss, Precision::Bf16, (true, Pooling::Cls))
    }

    /// 32 texts of 512 tokens.
    fn texts() -> Encoded {
        Encoded { num_texts: 32.0, tokens: 16_384.0, squares: 16_384.0 * 512.0, longest: 512.0, ..Encoded::default() }
    }

    #[test]
    fn a_layer_of_xlm_roberta_large_at_512_tokens_by_hand() {
        let (speed, shape) = (round(), large(LossPreset::Unified));
        let [forward, backward] = Layers { speed: &speed, shape: &shape }.layer(&texts());
        // 12 d² weights, two operations for each and token: 24 · 1,024² · 16,384.
        let products: f64 = 24.0 * 1_048_576.0 * 16_384.0;
        assert!((products / 412.3e9 - 1.0).abs() < 1e-3);
        assert!((forward.products - products / 100e12).abs() < 1e-9, "{forward:?}");
        assert!((backward.products - 2.0 * products / 100e12).abs() < 1e-9, "{backward:?}");
        // Two products of 512 · 512 · 1,024 for each of 32 texts forward, five backward.
        let product = 2.0 * 32.0 * 512.0 * 512.0 * 1024.0;
        let rate = 1.0 / speed.attention(512.0, 1.0, 0.0);
        assert!((forward.attention - 2.0 * product / rate).abs() < 1e-9);
        assert!((backward.attention - 5.0 * product / rate).abs() < 1e-9);
        // Two norms of 4 · 2 bytes an element, and 2 · 2 for the activations, four times as wide: 32 d.
        let moved = |bytes: f64| bytes * 1024.0 * 16_384.0 / 1e12;
        assert!((forward.memory - moved(32.0)).abs() < 1e-9, "{forward:?}");
        // Norms 2 · 8, activations 4 · 8, queries, keys and values 3 · 6.
        assert!((backward.memory - moved(16.0 + 32.0 + 18.0)).abs() < 1e-9, "{backward:?}");
    }

    #[test]
    fn few_tokens_wait_for_the_weights() {
        let (speed, shape) = (round(), large(LossPreset::Unified));
        let layers = Layers { speed: &speed, shape: &shape };
        // One row: all bytes are weights, read once forward, once for the input's gradient; theirs is read and written.
        let weights = 1024.0 * 1024.0;
        let [forward, backward] = layers.maps(1.0, &[(1024.0, 1024.0)]);
        assert!((forward - (2.0 * weights + 4096.0) / 1e12).abs() < 1e-15);
        assert!((backward - (10.0 * weights + 8192.0) / 1e12).abs() < 1e-15);
    }

    #[test]
    fn sub_batches_add_up_and_a_dense_heads_last_layer_is_a_part_of_one() {
        let speed = Speed { launch_secs: 1.0, ..round() };
        let of = |preset: LossPreset, parts: f64| {
            let shape = large(preset);
            Layers { speed: &speed, shape: &shape }.passes(&texts(), parts)
        };
        let [whole, halves] = [1.0, 2.0].map(|parts| of(LossPreset::Unified, parts));
        assert!((whole[0].products - halves[0].products).abs() < 1e-9);
        assert_eq!((whole[0].launches, halves[0].launches), (24.0 * 8.0 + 60.0, 2.0 * (24.0 * 8.0 + 60.0)));
        let dense = of(LossPreset::Dense, 1.0);
        let share = dense[0].attention / whole[0].attention;
        assert!((23.1..23.3).contains(&(24.0 * share)), "{share}");
        assert_eq!(of(LossPreset::Dense, 0.0), [Spent::default(); 2]);
    }
}
