//! `[optimizer]`: AdamW and its schedule.

use serde::{Deserialize, Serialize};

/// `[optimizer]`: AdamW with linear warm-up and linear decay to zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSection {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of `steps` during which the rate rises from 0.
    pub warmup_ratio: f64,
    /// Decoupled weight decay; biases and layer norms have none.
    pub weight_decay: f64,
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Added to the root of the squared gradient's mean.
    pub epsilon: f64,
    /// The gradient's global norm is scaled down to this; 0 leaves it.
    pub max_grad_norm: f64,
    /// The rate falls linearly to 0 at `steps` after the warm-up; false keeps it constant.
    pub linear_decay: bool,
    /// Each rank keeps the running means of its part of the weights only (ZeRO-1), which saves memory and computes the
    /// same numbers to the bit; the gradient's sums and the weights travel instead of the gradient's sums twice.
    pub shard_state: bool,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            linear_decay: true,
            shard_state: false,
        }
    }
}
