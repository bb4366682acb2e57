//! The masked-language-model head, which predicts words: a linear map, GELU, a layer norm, and a projection by the
//! table of word embeddings with a bias of its own.
//!
//! Legend: K rows, V vocabulary, d hidden size.

use tch::Tensor;
use tercet_configs::EncoderConfig;

use crate::model::encoder::{EMBEDDING_TABLES, spec};
use crate::model::parameters::{Parameters, Span, Spec};
use crate::model::places::{LinearPlace, NormPlace};
use crate::ops::gelu;
use crate::ops::layer_norm::Normalised;
use crate::ops::linear::LinearOutput;
use crate::ops::vocabulary::{Predicted, Projection, ProjectionGradient};

/// The name of the bias of the projection to the vocabulary.
pub const MASKED_LM_BIAS: &str = "lm_head.bias";

/// Names, shapes and initial values of the head's weights.
pub(super) fn specs(c: &EncoderConfig) -> Vec<Spec> {
    c.mlm_head_weights().into_iter().map(|(name, shape)| spec(c, (name.to_owned(), shape))).collect()
}

/// The head; its weights lie in [`Parameters`].
pub(super) struct MaskedLm {
    dense: LinearPlace,
    norm: NormPlace,
    table: Span,
    bias: Span,
}

/// The rows as they are projected to the vocabulary, and what the backward pass needs of them.
struct Transformed {
    /// Before the activation function, [K, d].
    inner: LinearOutput,
    norm: Normalised,
    /// [K, d].
    output: Tensor,
}

impl MaskedLm {
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters) -> Self {
        Self {
            dense: LinearPlace::new(parameters, &["lm_head.dense".to_owned()]),
            norm: NormPlace::new(config, parameters, "lm_head.layer_norm"),
            table: parameters.span(&[EMBEDDING_TABLES[0].to_owned()]),
            bias: parameters.span(&[MASKED_LM_BIAS.to_owned()]),
        }
    }

    /// Predicts `labels`, int64 `[K]`, from `rows`, [K, d]. Returns the sum of −log probability and the number of
    /// labels predicted first, float64 `[2]`, and the gradient of the rows, [K, d]. The weights' gradients are added to
    /// the flat one. All gradients are those of `scale` times the sum of −log probability.
    pub(super) fn learn(
        &self,
        parameters: &Parameters,
        rows: &Tensor,
        labels: &Tensor,
        scale: f64,
    ) -> (Tensor, Tensor) {
        let Transformed { inner, norm, output } = self.transform(parameters, rows);
        let gradient =
            ProjectionGradient { table: parameters.grad_at(&self.table), bias: parameters.grad_at(&self.bias) };
        let Predicted { sums, d_rows } = self.projection(parameters).predict(&output, labels, scale, Some(gradient));
        let d_output = d_rows.unwrap_or_else(|| output.zeros_like());
        drop(output);
        let d_activated = self.norm.of(parameters).backward(&norm, &d_output, self.norm.gradient(parameters));
        let mut d_dense = self.dense.gradient(parameters);
        let [_, d_inner] = gelu::backward(&inner, d_activated, &mut d_dense.bias);
        d_dense.add_weight(rows, &d_inner);
        (sums, self.dense.of(parameters).input_gradient(&d_inner))
    }

    /// The sums of [`MaskedLm::learn`], without gradients.
    pub(super) fn predict(&self, parameters: &Parameters, rows: &Tensor, labels: &Tensor) -> Tensor {
        let output = self.transform(parameters, rows).output;
        self.projection(parameters).predict(&output, labels, 1.0, None).sums
    }

    fn transform(&self, parameters: &Parameters, rows: &Tensor) -> Transformed {
        let inner = self.dense.of(parameters).forward_before_gelu(rows);
        let (output, norm) = self.norm.of(parameters).forward(gelu::forward(&inner));
        Transformed { inner, norm, output }
    }

    fn projection(&self, parameters: &Parameters) -> Projection {
        let [table, bias] = [&self.table, &self.bias].map(|span| parameters.both_at(span));
        Projection { table, bias, matmul: parameters.matmul }
    }
}
