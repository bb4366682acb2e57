//! Where the weights of a linear map and of a layer norm lie in the flat buffers, and the views of them that operations
//! take.

use tercet_configs::EncoderConfig;

use super::parameters::{Parameters, Span};
use crate::ops::layer_norm::{LayerNorm, LayerNormGradient};
use crate::ops::linear::{Linear, LinearGradient};

/// Weight [out, in] and bias `[out]`.
pub struct LinearPlace {
    weight: Span,
    bias: Span,
}

impl LinearPlace {
    /// The maps called `names` as one map. They have the same input, and their weights lie beside each other.
    ///
    /// # Panics
    /// As [`Parameters::span`].
    pub fn new(parameters: &Parameters, names: &[String]) -> Self {
        let all = |suffix: &str| names.iter().map(|name| format!("{name}.{suffix}")).collect::<Vec<_>>();
        Self { weight: parameters.span(&all("weight")), bias: parameters.span(&all("bias")) }
    }

    /// Its first `rows` outputs, and the rest.
    pub fn cut_at(&self, rows: i64) -> [Self; 2] {
        let ([first_weight, weight], [first_bias, bias]) = (self.weight.cut_at(rows), self.bias.cut_at(rows));
        [Self { weight: first_weight, bias: first_bias }, Self { weight, bias }]
    }

    /// Where its matrix begins.
    pub fn start(&self) -> i64 {
        self.weight.start()
    }

    /// The map.
    pub fn of(&self, parameters: &Parameters) -> Linear {
        Linear {
            weight: parameters.weight_at(&self.weight),
            bias: parameters.both_at(&self.bias),
            matmul: parameters.matmul,
        }
    }

    /// Its gradient.
    pub fn gradient(&self, parameters: &Parameters) -> LinearGradient {
        let [weight, bias] = [&self.weight, &self.bias].map(|span| parameters.grad_at(span));
        LinearGradient { weight, bias, matmul: parameters.matmul }
    }
}

/// Weight and bias, `[d]` each.
pub struct NormPlace {
    weight: Span,
    bias: Span,
    eps: f64,
}

impl NormPlace {
    /// The layer norm called `name`.
    pub fn new(config: &EncoderConfig, parameters: &Parameters, name: &str) -> Self {
        let span = |suffix: &str| parameters.span(&[format!("{name}.{suffix}")]);
        Self { weight: span("weight"), bias: span("bias"), eps: config.layer_norm_eps }
    }

    /// The norm.
    pub fn of(&self, parameters: &Parameters) -> LayerNorm {
        let [weight, bias] = [&self.weight, &self.bias].map(|span| parameters.both_at(span));
        LayerNorm { weight, bias, eps: self.eps }
    }

    /// Its gradient.
    pub fn gradient(&self, parameters: &Parameters) -> LayerNormGradient {
        let [weight, bias] = [&self.weight, &self.bias].map(|span| parameters.grad_at(span));
        LayerNormGradient { weight, bias }
    }
}
