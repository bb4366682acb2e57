//! The activation function x·Φ(x) (Hendrycks and Gimpel, 2016, arXiv 1606.08415), exact, and its derivative.
//!
//! Legend: T rows, f the width.

use tch::Tensor;

use super::linear::{LinearOutput, add_column_sums};
use super::{Engine, cpu, cuda};

/// The activations, [T, f], of a linear map's output.
pub fn forward(x: &LinearOutput) -> Tensor {
    match Engine::of(&x.values) {
        Engine::Cpu => cpu::gelu::forward(&x.values, x.bias()),
        Engine::Cuda => cuda::gelu::forward(&cuda::Gpu::of(&x.values), &x.values, x.bias()),
        Engine::Libtorch => x.values.gelu("none"),
    }
}

/// The activations, recomputed, and the gradient of `x` from theirs, `d`, [T, f] each; adds that of the map's bias to
/// `linear_bias`, `[f]`.
pub fn backward(x: &LinearOutput, d: Tensor, linear_bias: &mut Tensor) -> [Tensor; 2] {
    match Engine::of(&x.values) {
        Engine::Cpu => cpu::gelu::backward(&x.values, x.bias(), d, linear_bias),
        Engine::Cuda => cuda::gelu::backward(&cuda::Gpu::of(&d), &x.values, x.bias(), d, linear_bias),
        Engine::Libtorch => {
            let d_x = x.values.gelu_backward(&d, "none");
            add_column_sums(linear_bias, &d_x);
            [x.values.gelu("none"), d_x]
        }
    }
}
