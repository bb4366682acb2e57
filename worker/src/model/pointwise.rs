//! What a layer does token by token between its products: by kernels on a CPU, elsewhere by libtorch's operations.
//!
//! Legend: T tokens of a sub-batch, d hidden size, f intermediate size.

use tch::{Kind, Tensor};
use tercet_configs::EncoderConfig;

use super::parameters::{Parameters, Span};
use crate::ops::cpu::dropout::Dropout;
use crate::ops::cpu::{self, Element, elements, elements_mut, in_elements_of};
use crate::tensors::libtorch::{Normalised, layer_norm_backward};

/// Weight and bias, `[d]` each.
pub struct LayerNorm {
    weight: Span,
    bias: Span,
    eps: f64,
}

impl LayerNorm {
    pub(super) fn new(config: &EncoderConfig, parameters: &Parameters, name: &str) -> Self {
        let span = |suffix: &str| parameters.span(&[format!("{name}.{suffix}")]);
        Self { weight: span("weight"), bias: span("bias"), eps: config.layer_norm_eps }
    }

    /// Every row of `x`, [T, d], normalised.
    pub(super) fn forward(&self, parameters: &Parameters, x: Tensor) -> (Tensor, Normalised) {
        let [weight, bias] = self.weights(parameters, &x);
        let (output, mean, rstd) = x.native_layer_norm([x.size()[1]], Some(weight), Some(bias), self.eps);
        (output, Normalised { input: x, mean, rstd })
    }

    /// The input's gradient from the output's, [T, d]; adds those of weight and bias.
    pub(super) fn backward(&self, parameters: &Parameters, saved: &Normalised, grad: &Tensor) -> Tensor {
        let [weight, bias] = self.weights(parameters, grad);
        let [d_input, d_weight, d_bias] = layer_norm_backward(grad, saved, &weight, &bias);
        for (span, gradient) in [(&self.weight, d_weight), (&self.bias, d_bias)] {
            let _ = parameters.grad_at(span).g_add_(&gradient);
        }
        d_input
    }

    /// dropout(`x`) + `residual`, normalised, [T, d]; `x` is what a linear map gave, whose bias the kernel adds.
    pub(super) fn forward_sum(
        &self,
        parameters: &Parameters,
        mut x: Tensor,
        linear_bias: &Span,
        residual: &Tensor,
        dropout: Dropout,
    ) -> (Tensor, Normalised) {
        if !cpu::serve(&x) {
            dropout.apply(&mut x);
            let _ = x.g_add_(residual);
            return self.forward(parameters, x);
        }
        let mut output = x.empty_like();
        let mut moments = [(); 2].map(|()| Tensor::empty([x.size()[0], 1], (Kind::Float, x.device())));
        let (weights, linear_bias) = (self.masters(parameters), parameters.master_at(linear_bias));
        in_elements_of!(x, E => self.kernel(&weights).forward(
            elements_mut::<E>(&mut x),
            elements(&linear_bias),
            elements(residual),
            dropout,
            elements_mut(&mut output),
            moments.each_mut().map(elements_mut),
        ));
        let [mean, rstd] = moments;
        (output, Normalised { input: x, mean, rstd })
    }

    /// Gradients of the residual and of `x` from the output's, [T, d]; adds those of weight and bias, and to
    /// `linear_bias` that of the map which gave `x`.
    pub(super) fn backward_sum(
        &self,
        parameters: &Parameters,
        saved: &Normalised,
        grad: &Tensor,
        dropout: Dropout,
        linear_bias: &Span,
    ) -> [Tensor; 2] {
        if !cpu::serve(grad) {
            let d_residual = self.backward(parameters, saved, grad);
            let mut d_x = d_residual.shallow_clone();
            if dropout.is_on() {
                d_x = d_residual.copy();
                dropout.apply(&mut d_x);
            }
            add_column_sums(parameters, linear_bias, &d_x);
            return [d_residual, d_x];
        }
        in_elements_of!(grad, E => self.backward_sum_in::<E>(parameters, saved, grad, dropout, linear_bias))
    }

    fn backward_sum_in<E: Element>(
        &self,
        parameters: &Parameters,
        saved: &Normalised,
        grad: &Tensor,
        dropout: Dropout,
        linear_bias: &Span,
    ) -> [Tensor; 2] {
        let mut d_residual = grad.empty_like();
        let mut d_x = dropout.is_on().then(|| grad.empty_like());
        let weights = self.masters(parameters);
        let mut sums = [&self.weight, &self.bias, linear_bias].map(|span| parameters.grad_at(span));
        let gradients = cpu::norm::Gradients {
            residual: elements_mut::<E>(&mut d_residual),
            linear: d_x.as_mut().map(elements_mut),
            sums: sums.each_mut().map(elements_mut),
        };
        let saved = cpu::norm::Saved {
            sum: elements(&saved.input),
            mean: elements(&saved.mean),
            inverse: elements(&saved.rstd),
        };
        self.kernel(&weights).backward(saved, elements(grad), dropout, gradients);
        let d_x = d_x.unwrap_or_else(|| d_residual.shallow_clone());
        [d_residual, d_x]
    }

    /// Weight and bias in the type of `x`.
    fn weights(&self, parameters: &Parameters, x: &Tensor) -> [Tensor; 2] {
        [&self.weight, &self.bias].map(|span| match x.kind() == parameters.compute_kind() {
            true => parameters.weight_at(span),
            false => parameters.master_at(span),
        })
    }

    fn masters(&self, parameters: &Parameters) -> [Tensor; 2] {
        [&self.weight, &self.bias].map(|span| parameters.master_at(span))
    }

    fn kernel<'a>(&self, [weight, bias]: &'a [Tensor; 2]) -> cpu::norm::Norm<'a> {
        cpu::norm::Norm { weight: elements(weight), bias: elements(bias), eps: self.eps as f32 }
    }
}

/// The activation function, [T, f], of what a linear map gave, whose bias the kernel adds.
pub(super) fn gelu(parameters: &Parameters, x: &Tensor, linear_bias: &Span) -> Tensor {
    if !cpu::serve(x) {
        return x.gelu("none");
    }
    let (mut output, bias) = (x.empty_like(), parameters.master_at(linear_bias));
    let bias = elements(&bias);
    in_elements_of!(x, E => cpu::gelu::forward(elements::<E>(x), bias, elements_mut(&mut output)));
    output
}

/// The activation function's result once more, and the gradient of `x` from the result's, [T, f] each; adds that of the bias of
/// the map which gave `x`.
pub(super) fn gelu_backward(parameters: &Parameters, x: &Tensor, mut d: Tensor, linear_bias: &Span) -> [Tensor; 2] {
    if !cpu::serve(x) {
        let d_x = x.gelu_backward(&d, "none");
        add_column_sums(parameters, linear_bias, &d_x);
        return [x.gelu("none"), d_x];
    }
    let (mut output, bias) = (x.empty_like(), parameters.master_at(linear_bias));
    let mut sums = parameters.grad_at(linear_bias);
    in_elements_of!(x, E => {
        let [d_x, again] = [&mut d, &mut output].map(elements_mut::<E>);
        cpu::gelu::backward(elements(x), elements(&bias), d_x, again, elements_mut(&mut sums));
    });
    [output, d]
}

/// Adds the sum of the rows of `grad` to a bias's gradient.
pub(super) fn add_column_sums(parameters: &Parameters, bias: &Span, grad: &Tensor) {
    let mut sums = parameters.grad_at(bias);
    let _ = sums.g_add_(&grad.sum_dim_intlist([0i64].as_slice(), false, sums.kind()));
}
