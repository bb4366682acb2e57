//! AdamW's update of weights and moments (Loshchilov and Hutter, 2019, arXiv 1711.05101), as torch.optim.AdamW computes
//! it.
//!
//! An element's new numbers come from its own alone, wherever in a tensor it lies.

use tch::Tensor;

use super::{Engine, cpu};

/// The constants of one update.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What weight decay leaves of a weight.
    pub kept: f64,
    /// β₁ and β₂: what the running means of gradients and of their squares keep.
    pub betas: [f64; 2],
    /// The learning rate over the first moment's bias correction.
    pub rate: f64,
    /// The root of the second moment's bias correction.
    pub root: f64,
    /// Keeps the quotient finite.
    pub epsilon: f64,
}

impl Update {
    /// Updates weights, and the running means of gradients and of their squares, `[n]` each, in place.
    pub fn apply(&self, weights: &mut Tensor, gradient: &Tensor, moments: [&mut Tensor; 2]) {
        match Engine::of(weights) {
            Engine::Cpu => cpu::adamw::apply(self, weights, gradient, moments),
            Engine::Libtorch => self.apply_by_libtorch(weights, gradient, moments),
        }
    }

    fn apply_by_libtorch(&self, weights: &mut Tensor, gradient: &Tensor, [mean, square]: [&mut Tensor; 2]) {
        let [b1, b2] = self.betas;
        let _ = weights.g_mul_scalar_(self.kept);
        let _ = mean.lerp_(gradient, 1.0 - b1);
        let _ = square.g_mul_scalar_(b2).g_add_(&(gradient * gradient * (1.0 - b2)));
        let denominator = square.sqrt() / self.root + self.epsilon;
        let _ = weights.g_sub_(&(&*mean / denominator * self.rate));
    }
}
