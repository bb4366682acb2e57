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

/// A step changes a weight by about the rate. The weights are kept in fp32, where one of 0.02, the usual size, stays as
/// it is under less than 1e-9.
const SMALLEST_RATE: f64 = 1e-10;

impl OptimizerSection {
    /// A remark on a rate that is not 0 and changes the weights as little; a step under a rate of 0 is told as such.
    pub fn remark_on_rate(&self) -> Option<String> {
        let rate = self.learning_rate;
        (rate > 0.0 && rate < SMALLEST_RATE).then(|| {
            format!(
                "optimizer.learning_rate is {rate:e}, which is lost in the rounding of most weights: nothing is learnt; \
                 rates are usually between 1e-6 and 1e-3"
            )
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_teaches_nothing_is_remarked_on() {
        for (learning_rate, is_told) in [(0.0, false), (1e-30, true), (1e-11, true), (1e-9, false), (5e-5, false)] {
            let remark = OptimizerSection { learning_rate, ..Default::default() }.remark_on_rate();
            assert_eq!(remark.is_some(), is_told, "{learning_rate}");
            assert!(remark.is_none_or(|remark| remark.contains(&format!("learning_rate is {learning_rate:e}, "))));
        }
    }
}
