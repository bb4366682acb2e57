//! The transformer encoder: embeddings, then layers of attention and feed-forward, post-norm, as in BERT and
//! XLM-RoBERTa.
//!
//! Legend: T tokens of a sub-batch, d hidden size, h attention heads, B and L texts and length of an attention group.
//!
//! The embedding sum is linear in its tables, so its gradient is written by hand ([`Encoder::embed_backward`]): autograd
//! would allocate a [vocabulary, d] gradient for every sub-batch.

use tch::{Kind, Tensor};
use tercet_configs::EncoderConfig;

use super::parameters::{Init, Parameters, Spec};
use crate::sub_batch::SubBatch;

/// Embedding tables whose gradients [`Encoder::embed_backward`] writes.
pub(super) const EMBEDDING_TABLES: [&str; 3] = [
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
];

/// Names, shapes and starts of BERT's pooler, which is kept for export but never used or trained.
pub(super) fn pooler_specs(c: &EncoderConfig) -> [Spec; 2] {
    let d = c.hidden_size as i64;
    [
        Spec { name: "pooler.dense.weight".into(), shape: vec![d, d], init: Init::Normal(c.initializer_range) },
        Spec { name: "pooler.dense.bias".into(), shape: vec![d], init: Init::Constant(0.0) },
    ]
}

/// Names, shapes and starts of the encoder's weights.
pub(super) fn specs(c: &EncoderConfig) -> Vec<Spec> {
    let (d, ffn) = (c.hidden_size as i64, c.intermediate_size as i64);
    let normal = Init::Normal(c.initializer_range);
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[i64], init| specs.push(Spec { name, shape: shape.to_vec(), init });
    add(EMBEDDING_TABLES[0].into(), &[c.vocab_size as i64, d], normal);
    add(EMBEDDING_TABLES[1].into(), &[c.max_position_embeddings as i64, d], normal);
    add(EMBEDDING_TABLES[2].into(), &[c.type_vocab_size as i64, d], normal);
    add("embeddings.LayerNorm.weight".into(), &[d], Init::Constant(1.0));
    add("embeddings.LayerNorm.bias".into(), &[d], Init::Constant(0.0));
    for layer in 0..c.num_hidden_layers {
        let p = format!("encoder.layer.{layer}");
        for (name, rows, columns) in [
            ("attention.self.query", d, d),
            ("attention.self.key", d, d),
            ("attention.self.value", d, d),
            ("attention.output.dense", d, d),
            ("intermediate.dense", ffn, d),
            ("output.dense", d, ffn),
        ] {
            add(format!("{p}.{name}.weight"), &[rows, columns], normal);
            add(format!("{p}.{name}.bias"), &[rows], Init::Constant(0.0));
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("{p}.{norm}.weight"), &[d], Init::Constant(1.0));
            add(format!("{p}.{norm}.bias"), &[d], Init::Constant(0.0));
        }
    }
    specs
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(parameters: &Parameters, name: &str) -> Self {
        Self { weight: parameters.leaf(&format!("{name}.weight")), bias: parameters.leaf(&format!("{name}.bias")) }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    fn layer_norm(&self, x: &Tensor, eps: f64) -> Tensor {
        x.layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), eps, true)
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Linear,
    intermediate: Linear,
    output: Linear,
    output_norm: Linear,
}

/// The encoder; its weights are views of [`Parameters`].
pub struct Encoder {
    config: EncoderConfig,
    tables: [Tensor; 3],
    norm: Linear,
    layers: Vec<Layer>,
}

impl Encoder {
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters) -> Self {
        let layers = (0..config.num_hidden_layers).map(|i| {
            let linear = |name: &str| Linear::new(parameters, &format!("encoder.layer.{i}.{name}"));
            Layer {
                query: linear("attention.self.query"),
                key: linear("attention.self.key"),
                value: linear("attention.self.value"),
                attention_output: linear("attention.output.dense"),
                attention_norm: linear("attention.output.LayerNorm"),
                intermediate: linear("intermediate.dense"),
                output: linear("output.dense"),
                output_norm: linear("output.LayerNorm"),
            }
        });
        Self {
            config: config.clone(),
            tables: EMBEDDING_TABLES.map(|name| parameters.leaf(name)),
            norm: Linear::new(parameters, "embeddings.LayerNorm"),
            layers: layers.collect(),
        }
    }

    /// Words + positions + token type 0 of every token: [T, d], outside autograd.
    pub fn embed(&self, texts: &SubBatch) -> Tensor {
        tch::no_grad(|| {
            let [words, positions, types] = &self.tables;
            words.index_select(0, &texts.token_ids)
                + positions.index_select(0, &(&texts.positions + self.config.first_position() as i64))
                + types.get(0)
        })
    }

    /// Adds the gradient of [`Encoder::embed`]'s result, [T, d], to the tables' gradients.
    ///
    /// Padding contributes nothing: its hidden states reach no representation, so its gradient is exactly 0.
    pub fn embed_backward(&self, texts: &SubBatch, gradient: &Tensor, parameters: &Parameters) {
        tch::no_grad(|| {
            let [mut words, mut positions, types] = EMBEDDING_TABLES.map(|name| parameters.grad(name));
            let _ = words.index_add_(0, &texts.token_ids, gradient);
            let _ = positions.index_add_(0, &(&texts.positions + self.config.first_position() as i64), gradient);
            let _ = types.get(0).g_add_(&gradient.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>));
        });
    }

    /// Hidden states [T, d] from embeddings [T, d]; `train` turns dropout on.
    pub fn forward(&self, embeddings: &Tensor, texts: &SubBatch, train: bool) -> Tensor {
        let c = &self.config;
        let eps = c.layer_norm_eps;
        let dropout = |x: Tensor| if c.hidden_dropout_prob > 0.0 { x.dropout(c.hidden_dropout_prob, train) } else { x };

        let mut hidden = dropout(self.norm.layer_norm(embeddings, eps)); // [T, d]
        for layer in &self.layers {
            let attended = dropout(layer.attention_output.forward(&self.attend(layer, &hidden, texts, train)));
            hidden = layer.attention_norm.layer_norm(&(attended + hidden), eps);
            let inner = layer.intermediate.forward(&hidden).gelu("none"); // [T, ffn]
            hidden = layer.output_norm.layer_norm(&(dropout(layer.output.forward(&inner)) + hidden), eps);
        }
        hidden
    }

    /// Every token attends to its own text: [T, d] from [T, d], group by group.
    fn attend(&self, layer: &Layer, hidden: &Tensor, texts: &SubBatch, train: bool) -> Tensor {
        let dropout = if train { self.config.attention_probs_dropout_prob } else { 0.0 };
        let heads = self.config.num_attention_heads;
        let (query, key, value) = (layer.query.forward(hidden), layer.key.forward(hidden), layer.value.forward(hidden)); // [T, d]
        let attended: Vec<Tensor> = texts
            .groups
            .iter()
            .map(|group| {
                let (b, l) = (group.num_texts, group.len);
                let split = |x: &Tensor| x.narrow(0, group.first, b * l).view([b, l, heads as i64, -1]).transpose(1, 2);
                let (query, key, value) = (split(&query), split(&key), split(&value)); // [B, h, L, d/h]
                let mask = group.attention_mask.as_ref();
                let attended =
                    Tensor::scaled_dot_product_attention(&query, &key, &value, mask, dropout, false, None, false);
                attended.transpose(1, 2).reshape([b * l, -1])
            })
            .collect();
        Tensor::cat(&attended, 0)
    }
}
