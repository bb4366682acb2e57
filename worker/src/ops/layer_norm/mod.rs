//! Layer normalisation (Ba et al., 2016, arXiv 1607.06450), alone and after dropout and the residual.
//!
//! Legend: T rows, d the width.

mod weights;

use tch::{Kind, Tensor};

pub use crate::tensors::libtorch::Normalised;
pub use weights::LayerNorm;

use super::dropout::Dropout;
use super::linear::{LinearOutput, add_column_sums};
use super::{Engine, cpu, cuda};
use crate::tensors::libtorch::layer_norm_backward;

/// The gradient of a layer norm: views of the flat one, which are added to.
pub struct LayerNormGradient {
    /// `[d]`.
    pub weight: Tensor,
    /// `[d]`.
    pub bias: Tensor,
}

impl LayerNorm {
    /// Every row of `x`, [T, d], normalised. libtorch does it on every device.
    pub fn forward(&self, x: Tensor) -> (Tensor, Normalised) {
        let [weight, bias] = [&self.weight, &self.bias].map(|weight| Some(weight.like(&x)));
        let (output, mean, rstd) = x.native_layer_norm([x.size()[1]], weight, bias, self.eps);
        (output, Normalised { input: x, mean, rstd })
    }

    /// The input's gradient from the output's, [T, d]; adds those of weight and bias.
    pub fn backward(&self, saved: &Normalised, grad: &Tensor, mut gradient: LayerNormGradient) -> Tensor {
        let [d_input, d_weight, d_bias] =
            layer_norm_backward(grad, saved, self.weight.like(grad), self.bias.like(grad));
        let _ = gradient.weight.g_add_(&d_weight);
        let _ = gradient.bias.g_add_(&d_bias);
        d_input
    }

    /// dropout(`x`) + `residual`, normalised, [T, d].
    pub fn forward_sum(&self, x: LinearOutput, residual: &Tensor, dropout: Dropout) -> (Tensor, Normalised) {
        match Engine::of_rows(&x.values, residual.size()[1]) {
            Engine::Cpu => {
                let linear_bias = x.bias().shallow_clone();
                cpu::layer_norm::forward_sum(self, x.values, &linear_bias, residual, dropout)
            }
            Engine::Cuda => {
                let linear_bias = x.bias().shallow_clone();
                let gpu = cuda::Gpu::of(residual);
                cuda::layer_norm::forward_sum(&gpu, self, x.values, &linear_bias, residual, dropout)
            }
            Engine::Libtorch if x.values.kind() == Kind::BFloat16 => self.forward_sum_in_float32(&x, residual, dropout),
            Engine::Libtorch => {
                let mut x = x.values;
                dropout.apply(&mut x);
                let _ = x.g_add_(residual);
                self.forward(x)
            }
        }
    }

    /// Gradients of the residual and of `x` from the output's, [T, d]; adds those of weight and bias, and that of the
    /// map's bias to `linear_bias`, `[d]`.
    pub fn backward_sum(
        &self,
        saved: &Normalised,
        grad: &Tensor,
        dropout: Dropout,
        mut gradient: LayerNormGradient,
        linear_bias: &mut Tensor,
    ) -> [Tensor; 2] {
        match Engine::of_rows(grad, grad.size()[1]) {
            Engine::Cpu => {
                let sums = [&mut gradient.weight, &mut gradient.bias, linear_bias];
                cpu::layer_norm::backward_sum(self, saved, grad, dropout, sums)
            }
            Engine::Cuda => {
                let sums = [&mut gradient.weight, &mut gradient.bias, linear_bias];
                cuda::layer_norm::backward_sum(&cuda::Gpu::of(grad), self, saved, grad, dropout, sums)
            }
            Engine::Libtorch if grad.kind() == Kind::BFloat16 => {
                self.backward_sum_in_float32(saved, grad, dropout, gradient, linear_bias)
            }
            Engine::Libtorch => {
                let d_residual = self.backward(saved, grad, gradient);
                let mut d_x = d_residual.shallow_clone();
                if dropout.is_on() {
                    d_x = d_residual.copy();
                    dropout.apply(&mut d_x);
                }
                add_column_sums(linear_bias, &d_x);
                [d_residual, d_x]
            }
        }
    }

    /// [`LayerNorm::forward_sum`] of bfloat16 by libtorch, as the CPU's kernels do it: bias, dropout, residual and norm
    /// in float32, with biases and weights as the optimizer has them. The result is rounded once, and so is the sum
    /// that is kept.
    pub(super) fn forward_sum_in_float32(
        &self,
        x: &LinearOutput,
        residual: &Tensor,
        dropout: Dropout,
    ) -> (Tensor, Normalised) {
        let kind = x.values.kind();
        let mut sum = &x.values + x.bias();
        dropout.apply(&mut sum);
        let _ = sum.g_add_(residual);
        let [weight, bias] = [&self.weight, &self.bias].map(|weight| Some(&weight.master));
        let (output, mean, rstd) = sum.native_layer_norm([sum.size()[1]], weight, bias, self.eps);
        (output.to_kind(kind), Normalised { input: sum.to_kind(kind), mean, rstd })
    }

    /// [`LayerNorm::backward_sum`] likewise.
    pub(super) fn backward_sum_in_float32(
        &self,
        saved: &Normalised,
        grad: &Tensor,
        dropout: Dropout,
        gradient: LayerNormGradient,
        linear_bias: &mut Tensor,
    ) -> [Tensor; 2] {
        let (kind, wide) = (grad.kind(), self.weight.master.kind());
        let [mean, rstd] = [&saved.mean, &saved.rstd].map(Tensor::shallow_clone);
        let saved = Normalised { input: saved.input.to_kind(wide), mean, rstd };
        let mut d_sum = self.backward(&saved, &grad.to_kind(wide), gradient);
        let d_residual = d_sum.to_kind(kind);
        if !dropout.is_on() {
            add_column_sums(linear_bias, &d_sum);
            return [d_residual.shallow_clone(), d_residual];
        }
        dropout.apply(&mut d_sum);
        add_column_sums(linear_bias, &d_sum);
        [d_residual, d_sum.to_kind(kind)]
    }
}
