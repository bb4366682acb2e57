//! The transformer encoder: embeddings, then layers of attention and feed-forward, post-norm, as in BERT and
//! XLM-RoBERTa.
//!
//! Legend: T tokens of a sub-batch, d hidden size.
//!
//! The backward pass is written by hand (layer.rs says why).

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

/// Names, shapes and initial values of BERT's pooler, which is kept for export but never used or trained.
pub(super) fn pooler_specs(c: &EncoderConfig) -> [Spec; 2] {
    let d = c.hidden_size as i64;
    [
        Spec { name: "pooler.dense.weight".into(), shape: vec![d, d], init: Init::Normal(c.initializer_range) },
        Spec { name: "pooler.dense.bias".into(), shape: vec![d], init: Init::Constant(0.0) },
    ]
}

/// Names, shapes and initial values of the encoder's weights.
pub(super) fn specs(c: &EncoderConfig) -> Vec<Spec> {
    c.encoder_weights().into_iter().map(|weight| spec(c, weight)).collect()
}

/// Names, shapes and initial values of the weights of a layer whose names begin with `name`.
pub(super) fn layer_specs(c: &EncoderConfig, name: &str) -> Vec<Spec> {
    c.layer_weights(name).into_iter().map(|weight| spec(c, weight)).collect()
}

/// The spec of an encoder weight, or of one like those. Weights of norms begin as 1, and biases as 0.
pub(super) fn spec(c: &EncoderConfig, (name, shape): (String, Vec<usize>)) -> Spec {
    let init = match name.as_str() {
        norm if norm.ends_with("LayerNorm.weight") || norm.ends_with("layer_norm.weight") => Init::Constant(1.0),
        bias if bias.ends_with(".bias") => Init::Constant(0.0),
        _ => Init::Normal(c.initializer_range),
    };
    Spec { name, shape: shape.into_iter().map(|n| n as i64).collect(), init }
}

/// What the forward pass saves for the backward pass.
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
        let layer = |i| Layer::new(config, parameters, &format!("encoder.layer.{i}"));
        Self {
            config: config.clone(),
            tables: EMBEDDING_TABLES.map(|name| parameters.leaf(name)),
            norm: NormPlace::new(config, parameters, "embeddings.LayerNorm"),
            layers: (0..config.num_hidden_layers).map(layer).collect(),
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
        let (mut hidden, norm) = self.embed(parameters, &texts.token_ids, &texts.positions, seed); // [T, d]
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

    /// Adds the gradients of all weights, from the gradient of the hidden states that the forward pass gave. Calls
    /// `ready(first)` once this sub-batch adds nothing more to the gradients of matrices from offset `first` on.
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
        self.embed_backward(parameters, &saved.norm, (&texts.token_ids, &texts.positions), seed, grad);
    }

    /// The first layer's input, [T, d], from the tokens `ids` at `positions` of their texts, int64 `[T]` each; and what
    /// [`Encoder::embed_backward`] needs.
    pub(super) fn embed(
        &self,
        parameters: &Parameters,
        ids: &Tensor,
        positions: &Tensor,
        seed: Option<u64>,
    ) -> (Tensor, Normalised) {
        // Embeddings are computed in the weights' own type: a sum of three rows costs next to nothing.
        self.norm_embedded(parameters, embed::forward(&self.tables, ids, &self.places(positions)), seed)
    }

    /// Norm and dropout of the `sum` of an embedding's parts, [T, d], in the type that the layers compute in.
    pub(super) fn norm_embedded(
        &self,
        parameters: &Parameters,
        sum: Tensor,
        seed: Option<u64>,
    ) -> (Tensor, Normalised) {
        let (mut hidden, norm) = self.norm.of(parameters).forward(sum);
        self.dropout(seed).apply(&mut hidden);
        (hidden.to_kind(parameters.compute_kind()), norm)
    }

    /// Adds the gradients of the tables and of the norm, from the gradient of what [`Encoder::embed`] gave.
    pub(super) fn embed_backward(
        &self,
        parameters: &Parameters,
        norm: &Normalised,
        (ids, positions): (&Tensor, &Tensor),
        seed: Option<u64>,
        grad: Tensor,
    ) {
        let grad = self.norm_embedded_backward(parameters, norm, seed, grad);
        let tables = EMBEDDING_TABLES.map(|name| parameters.grad(name));
        embed::backward(tables, ids, &self.places(positions), &grad);
    }

    /// The gradient of the sum, [T, d], in the weights' own type; adds that of the norm.
    pub(super) fn norm_embedded_backward(
        &self,
        parameters: &Parameters,
        norm: &Normalised,
        seed: Option<u64>,
        grad: Tensor,
    ) -> Tensor {
        let mut grad = grad.to_kind(parameters.flat.kind());
        self.dropout(seed).apply(&mut grad);
        self.norm.of(parameters).backward(norm, &grad, self.norm.gradient(parameters))
    }

    fn dropout(&self, seed: Option<u64>) -> Dropout {
        dropout(seed, self.config.hidden_dropout_prob)
    }

    /// The rows of the position table for tokens at `positions` of their texts, int64 `[T]`.
    pub(super) fn places(&self, positions: &Tensor) -> Tensor {
        positions + self.config.first_position() as i64
    }
}

/// The seed of a layer's dropout, so that every layer has masks of its own.
pub(super) fn layer_seed(seed: Option<u64>, layer: usize) -> Option<u64> {
    seed.map(|seed| seed.wrapping_add((layer as u64 + 1) << 32))
}
