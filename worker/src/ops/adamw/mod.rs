//! AdamW's update of weights and moments (Loshchilov and Hutter, 2019, arXiv 1711.05101), as torch.optim.AdamW computes
//! it.
//!
//! An element's update depends on that element alone, wherever in a tensor it lies.

mod update;

use tch::Tensor;

pub use update::Update;

use super::{Engine, cpu};

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
