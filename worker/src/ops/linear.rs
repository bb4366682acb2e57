//! A linear map, y = x·Wᵀ + b, row by row.
//!
//! Products are libtorch's on every device, in float32 on a CPU by the library that [`Matmul`] names. Kernels add the
//! bias while they read the result, which saves a pass over memory: see [`LinearOutput`].
//!
//! Legend: T rows, in and out the widths.

use tch::{Kind, Tensor};

use super::matmul::Matmul;
use super::{Engine, Weight};
use crate::tensors::libtorch::{add_product, product};

/// A linear map.
pub struct Linear {
    /// [out, in], in the type that is computed in.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Weight,
    /// Who multiplies.
    pub matmul: Matmul,
}

/// The gradient of a linear map: views of the flat one, which are added to.
pub struct LinearGradient {
    /// [out, in].
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
    /// Who multiplies.
    pub matmul: Matmul,
}

/// A linear map's output, for an operation that may add the bias itself.
pub struct LinearOutput {
    /// [T, out].
    pub(super) values: Tensor,
    /// `[out]`; none if the values have it already. Kernels add it themselves, in float32.
    bias: Option<Tensor>,
}

impl LinearOutput {
    /// The bias that is not in the values.
    ///
    /// # Panics
    /// If the values have it, as they do without kernels.
    pub(super) fn bias(&self) -> &Tensor {
        self.bias.as_ref().expect("kernels get the bias apart")
    }
}

impl Linear {
    /// [T, out] from [T, in].
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match Engine::of(x) {
            Engine::Cpu => self.product(x).g_add_(&self.bias.compute),
            Engine::Cuda | Engine::Libtorch => self.forward_by_libtorch(x),
        }
    }

    /// As [`Linear::forward`], for attention, which on a CPU adds the bias itself.
    pub fn forward_before_attention(&self, x: &Tensor) -> LinearOutput {
        match Engine::of(x) {
            Engine::Cpu => self.apart(x),
            Engine::Cuda | Engine::Libtorch => self.together(x),
        }
    }

    /// As [`Linear::forward`], for the activation function, which adds the bias itself if it has a kernel.
    pub fn forward_before_gelu(&self, x: &Tensor) -> LinearOutput {
        match Engine::of(x) {
            Engine::Cpu | Engine::Cuda => self.apart(x),
            Engine::Libtorch => self.together(x),
        }
    }

    /// As [`Linear::forward`], for a norm of a sum, which adds the bias itself if it has a kernel, and in bfloat16, in
    /// float32, on every device.
    pub fn forward_before_norm(&self, x: &Tensor) -> LinearOutput {
        match Engine::of_rows(x, self.weight.size()[0]) {
            Engine::Cpu | Engine::Cuda => self.apart(x),
            Engine::Libtorch if x.kind() == Kind::BFloat16 => self.apart(x),
            Engine::Libtorch => self.together(x),
        }
    }

    /// The input's gradient, [T, in], from the output's, [T, out].
    pub fn input_gradient(&self, grad: &Tensor) -> Tensor {
        product(self.matmul.input_gradient, grad, &self.weight)
    }

    /// Adds the input's gradient to `d_x`, [T, in].
    pub fn add_input_gradient(&self, grad: &Tensor, d_x: &mut Tensor) {
        add_product(self.matmul.input_gradient, d_x, grad, &self.weight);
    }

    fn apart(&self, x: &Tensor) -> LinearOutput {
        LinearOutput { values: self.product(x), bias: Some(self.bias.master.shallow_clone()) }
    }

    fn together(&self, x: &Tensor) -> LinearOutput {
        LinearOutput { values: self.forward_by_libtorch(x), bias: None }
    }

    fn product(&self, x: &Tensor) -> Tensor {
        product(self.matmul.forward, x, &self.weight.tr())
    }

    fn forward_by_libtorch(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias.compute))
    }
}

impl LinearGradient {
    /// Adds the gradients of weight and bias, from the input, [T, in], and the output's gradient, [T, out].
    pub fn add(&mut self, x: &Tensor, grad: &Tensor) {
        self.add_weight(x, grad);
        add_column_sums(&mut self.bias, grad);
    }

    /// Adds the weight's gradient alone, where the operation that read the output has added the bias's.
    pub fn add_weight(&mut self, x: &Tensor, grad: &Tensor) {
        let library = self.matmul.weight_gradient;
        // A GPU adds bfloat16's products to float32 sums as they are. A CPU rounds them first.
        if self.weight.kind() == grad.kind() || grad.device().is_cuda() {
            add_product(library, &mut self.weight, &grad.tr(), x);
        } else {
            let _ = self.weight.g_add_(&product(library, &grad.tr(), x));
        }
    }
}

/// Adds the sum of the rows of `grad` to a bias's gradient.
pub(super) fn add_column_sums(bias: &mut Tensor, grad: &Tensor) {
    let _ = bias.g_add_(&grad.sum_dim_intlist([0i64].as_slice(), false, bias.kind()));
}
