//! The transformer encoder: embeddings, then layers of attention and feed-forward, post-norm, as in BERT and
//! XLM-RoBERTa.
//!
//! Legend: T tokens of a sub-batch, d hidden size.
//!
//! The backward pass is written by hand (the layers say why).

use tch::Tensor;
use tercet_configs::EncoderConfig;

use super::layer::{Layer, SavedLayer, dropout};
use super::parameters::{Init, Parameters, Spec};
use super::places::NormPlace;
use crate::model::sub_batch::SubBatch;
use crate::ops::dropout::Dropout;
use crate::ops::embed;
use crate::ops::layer_norm::Normalised;

/// Words, positions, token types.
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
    let spec = |(name, shape): (String, Vec<usize>)| {
        let init = match name.as_str() {
            norm if norm.ends_with("LayerNorm.weight") => Init::Constant(1.0),
            bias if bias.ends_with(".bias") => Init::Constant(0.0),
            _ => Init::Normal(c.initializer_range),
        };
        Spec { name, shape: shape.into_iter().map(|n| n as i64).collect(), init }
    };
    c.encoder_weights().into_iter().map(spec).collect()
}

/// What a forward pass leaves for the backward pass.
pub struct SavedEncoder {
    norm: Normalised,
    layers: Vec<SavedLayer>,
}

/// The encoder; its weights lie in [`Parameters`].
pub struct Encoder {
    config: EncoderConfig,
    tables: [Tensor; 3],
    norm: NormPlace,
    layers: Vec<Layer>,
}

impl Encoder {
    /// The encoder of `config` over `parameters`, which hold its weights.
    pub fn new(config: &EncoderConfig, parameters: &Parameters) -> Self {
        Self {
            config: config.clone(),
            tables: EMBEDDING_TABLES.map(|name| parameters.leaf(name)),
            norm: NormPlace::new(config, parameters, "embeddings.LayerNorm"),
            layers: (0..config.num_hidden_layers).map(|i| Layer::new(config, parameters, i)).collect(),
        }
    }

    /// Hidden states [T, d] in the encoder's type, or with `only_cls` those of the texts' first tokens, [texts, d];
    /// with `keep`, what [`Encoder::backward`] needs as well. `seed` seeds dropout; none: no dropout.
    pub fn forward(
        &self,
        parameters: &Parameters,
        texts: &SubBatch,
        only_cls: bool,
        seed: Option<u64>,
        keep: bool,
    ) -> (Tensor, Option<SavedEncoder>) {
        let _guard = tch::no_grad_guard();
        // In the weights' own type up to here: an embedding is a sum of three, and costs nothing.
        let embedded = embed::forward(&self.tables, &texts.token_ids, &self.places(texts));
        let (mut hidden, norm) = self.norm.of(parameters).forward(embedded);
        self.dropout(seed).apply(&mut hidden);
        let mut hidden = hidden.to_kind(parameters.compute_kind()); // [T, d]
        let mut layers = Vec::with_capacity(if keep { self.layers.len() } else { 0 });
        for (i, layer) in self.layers.iter().enumerate() {
            let seed = layer_seed(seed, i);
            let (output, saved) = if only_cls && i + 1 == self.layers.len() {
                layer.forward_cls(parameters, hidden, texts, seed, keep)
            } else {
                layer.forward(parameters, hidden, texts, seed, keep)
            };
            hidden = output;
            layers.extend(saved);
        }
        (hidden, keep.then_some(SavedEncoder { norm, layers }))
    }

    /// Adds the gradients of all weights, from the gradient of the hidden states that the forward pass gave. Tells
    /// `ready` from where on this sub-batch adds nothing to the gradients of matrices any more.
    ///
    /// Padding contributes nothing: its hidden states reach no representation, so its gradient is exactly 0.
    pub fn backward(
        &self,
        parameters: &Parameters,
        saved: SavedEncoder,
        texts: &SubBatch,
        seed: Option<u64>,
        grad: Tensor,
        ready: &mut dyn FnMut(i64),
    ) {
        let _guard = tch::no_grad_guard();
        let mut grad = grad;
        for (i, (layer, saved)) in self.layers.iter().zip(saved.layers).enumerate().rev() {
            grad = layer.backward(parameters, saved, texts, layer_seed(seed, i), grad);
            ready(layer.first_matrix());
        }
        let mut grad = grad.to_kind(parameters.flat.kind());
        self.dropout(seed).apply(&mut grad);
        let grad = self.norm.of(parameters).backward(&saved.norm, &grad, self.norm.gradient(parameters));
        let tables = EMBEDDING_TABLES.map(|name| parameters.grad(name));
        embed::backward(tables, &texts.token_ids, &self.places(texts), &grad);
    }

    fn dropout(&self, seed: Option<u64>) -> Dropout {
        dropout(seed, self.config.hidden_dropout_prob)
    }

    /// Each token's row in the table of positions, int64 `[T]`.
    fn places(&self, texts: &SubBatch) -> Tensor {
        &texts.positions + self.config.first_position() as i64
    }
}

/// Every layer drops at places of its own.
fn layer_seed(seed: Option<u64>, layer: usize) -> Option<u64> {
    seed.map(|seed| seed.wrapping_add((layer as u64 + 1) << 32))
}
