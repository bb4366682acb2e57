//! AdamW (Loshchilov and Hutter, 2019) over the flat buffers, as torch.optim.AdamW computes it.

use tch::Tensor;
use tercet_configs::OptimizerSection;

use crate::model::Parameters;

/// Elements updated at a time: bounds the temporaries.
const CHUNK: i64 = 1 << 22;

/// Running means and the count of updates.
pub struct AdamW {
    /// Running mean of gradients, `[N]`.
    pub mean: Tensor,
    /// Running mean of squared gradients, `[N]`.
    pub square: Tensor,
    /// Updates made.
    pub updates: u64,
}

impl AdamW {
    /// Zero state for `parameters`.
    pub fn new(parameters: &Parameters) -> Self {
        Self { mean: parameters.flat.zeros_like(), square: parameters.flat.zeros_like(), updates: 0 }
    }

    /// One update of all weights with the gradient that is in the flat buffer.
    pub fn update(&mut self, parameters: &Parameters, settings: &OptimizerSection, learning_rate: f64) {
        let _guard = tch::no_grad_guard();
        self.updates += 1;
        let (b1, b2) = (settings.beta1, settings.beta2);
        let correction1 = 1.0 - b1.powf(self.updates as f64);
        let correction2 = 1.0 - b2.powf(self.updates as f64);
        let gradient = parameters.flat_grad();
        let decayed = parameters.num_decayed();
        let mut start = 0;
        while start < parameters.numel() {
            // A chunk lies on one side of where weight decay ends.
            let end = if start < decayed { decayed } else { parameters.numel() };
            let len = CHUNK.min(end - start);
            let part = |t: &Tensor| t.narrow(0, start, len);
            let (mut weight, gradient) = (part(&parameters.flat), part(&gradient));
            let (mut mean, mut square) = (part(&self.mean), part(&self.square));
            if start < decayed {
                let _ = weight.g_mul_scalar_(1.0 - learning_rate * settings.weight_decay);
            }
            let _ = mean.lerp_(&gradient, 1.0 - b1);
            let _ = square.g_mul_scalar_(b2).g_add_(&(&gradient * &gradient * (1.0 - b2)));
            let denominator = square.sqrt() / correction2.sqrt() + settings.epsilon;
            let _ = weight.g_sub_(&(mean / denominator * (learning_rate / correction1)));
            start += len;
        }
    }
}

/// The gradient's global norm; scales the gradient down to `max_norm` if it is larger (0: never).
///
/// As torch's clip_grad_norm_, 1e-6 keeps the quotient finite.
pub fn clip_grad_norm(parameters: &Parameters, max_norm: f64) -> f64 {
    let _guard = tch::no_grad_guard();
    let mut gradient = parameters.flat_grad();
    let norm = gradient.norm().double_value(&[]);
    let scale = max_norm / (norm + 1e-6);
    if max_norm > 0.0 && scale < 1.0 {
        let _ = gradient.g_mul_scalar_(scale);
    }
    norm
}

/// The learning rate of optimizer step `step` (from 0) of `steps`: a linear rise over the warm-up, then a linear fall
/// that would reach 0 at `steps`. The first step already moves (rate peak / warm-up).
pub fn learning_rate(settings: &OptimizerSection, step: u64, steps: u64) -> f64 {
    let warmup = (steps as f64 * settings.warmup_ratio).ceil();
    let rise = if warmup > 0.0 { (step + 1) as f64 / warmup } else { 1.0 };
    let fall =
        if settings.linear_decay { (steps - step.min(steps)) as f64 / (steps as f64 - warmup).max(1.0) } else { 1.0 };
    settings.learning_rate * rise.min(fall).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_peaks_and_falls() {
        let settings = OptimizerSection { learning_rate: 1.0, warmup_ratio: 0.2, ..Default::default() };
        let rates: Vec<f64> = (0..10).map(|s| learning_rate(&settings, s, 10)).collect();
        assert_eq!(&rates[..3], [0.5, 1.0, 1.0]);
        assert_eq!(rates[9], 0.125);
        assert!(rates[2..].is_sorted_by(|a, b| a >= b));
    }
}
