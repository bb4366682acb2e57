//! The operations between two linear maps: dropout, the residual and layer normalisation (Ba et al., 2016, arXiv
//! 1607.06450), in one pass each way.
//!
//! Legend: T tokens, d hidden size.

use pulp::Arch;
use tch::{Device, Kind, Tensor};

use super::product::LANES;
use super::{Element, Shared, column_sums, elements, elements_mut, for_each_block, in_elements_of};
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::{LayerNorm, Normalised};

/// norm(dropout(`x` + `linear_bias`) + `residual`), [T, d], and what the backward pass needs; the bias is `[d]` in
/// float32.
///
/// # Panics
/// If tensors have other sizes.
pub fn forward_sum(
    norm: &LayerNorm,
    mut x: Tensor,
    linear_bias: &Tensor,
    residual: &Tensor,
    dropout: Dropout,
) -> (Tensor, Normalised) {
    let mut output = x.empty_like();
    let mut moments = [(); 2].map(|()| Tensor::empty([x.size()[0], 1], (Kind::Float, Device::Cpu)));
    in_elements_of!(x, E => Norm::of(norm).forward(
        elements_mut::<E>(&mut x),
        elements(linear_bias),
        elements(residual),
        dropout,
        elements_mut(&mut output),
        moments.each_mut().map(elements_mut),
    ));
    let [mean, rstd] = moments;
    (output, Normalised { input: x, mean, rstd })
}

/// Gradients of the residual and of `x` from the result's, [T, d]; adds those of the norm's weight, of its bias and of
/// the linear map's bias to `sums`, `[d]` in float32 each.
///
/// # Panics
/// If tensors have other sizes.
pub fn backward_sum(
    norm: &LayerNorm,
    saved: &Normalised,
    grad: &Tensor,
    dropout: Dropout,
    sums: [&mut Tensor; 3],
) -> [Tensor; 2] {
    let mut d_residual = grad.empty_like();
    let mut d_x = dropout.is_on().then(|| grad.empty_like());
    in_elements_of!(grad, E => {
        let gradients = Gradients {
            residual: elements_mut::<E>(&mut d_residual),
            linear: d_x.as_mut().map(elements_mut),
            sums: sums.map(elements_mut),
        };
        let saved = Saved {
            sum: elements(&saved.input),
            mean: elements(&saved.mean),
            inverse: elements(&saved.rstd),
        };
        Norm::of(norm).backward(saved, elements(grad), dropout, gradients);
    });
    let d_x = d_x.unwrap_or_else(|| d_residual.shallow_clone());
    [d_residual, d_x]
}

/// Weight and bias, `[d]` each, and what is added to the variance.
#[derive(Clone, Copy)]
struct Norm<'a> {
    /// `[d]`.
    weight: &'a [f32],
    /// `[d]`.
    bias: &'a [f32],
    /// Added to the variance.
    eps: f32,
}

/// What the forward pass saves: the sum before normalisation, [T, d], and each row's mean and inverse deviation, `[T]`.
#[derive(Clone, Copy)]
struct Saved<'a, E> {
    /// [T, d].
    sum: &'a [E],
    /// `[T]`.
    mean: &'a [f32],
    /// `[T]`.
    inverse: &'a [f32],
}

/// The gradients that the backward pass computes.
struct Gradients<'a, E> {
    /// The residual's, `[T, d]`.
    residual: &'a mut [E],
    /// The linear map's result's, `[T, d]`; none where it is the residual's, without dropout.
    linear: Option<&'a mut [E]>,
    /// Is added to those of the norm's weight, of its bias and of the linear map's bias, `[d]` each.
    sums: [&'a mut [f32]; 3],
}

impl<'a> Norm<'a> {
    fn of(norm: &'a LayerNorm) -> Self {
        let (weight, bias) = (elements(&norm.weight.master), elements(&norm.bias.master));
        Self { weight, bias, eps: norm.eps as f32 }
    }

    /// [T, d]: norm(dropout(`x` + `linear_bias`) + `residual`). `x` becomes the sum that is normalised.
    fn forward<E: Element>(
        &self,
        x: &mut [E],
        linear_bias: &[f32],
        residual: &[E],
        dropout: Dropout,
        output: &mut [E],
        [mean, inverse]: [&mut [f32]; 2],
    ) {
        let d = self.weight.len();
        assert!(x.len() == residual.len() && x.len() == output.len() && x.len() == d * mean.len());
        assert!(linear_bias.len() == d && self.bias.len() == d);
        let (x, output, mean, inverse) = (Shared::new(x), Shared::new(output), Shared::new(mean), Shared::new(inverse));
        for_each_block(residual.len() / d, |_, rows| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let mut sum = vec![0.0; d.next_multiple_of(LANES)];
                    for row in rows {
                        // SAFETY: the rows of a block are its own.
                        let (x, output, mean, inverse) = unsafe {
                            (x.slice(row * d, d), output.slice(row * d, d), mean.slice(row, 1), inverse.slice(row, 1))
                        };
                        let residual = &residual[row * d..][..d];
                        dropout.each(
                            row * d,
                            x,
                            #[inline(always)]
                            |x, factor, i| {
                                *x = E::narrow((x.widen() + linear_bias[i]).mul_add(factor, residual[i].widen()));
                                sum[i] = x.widen();
                            },
                        );
                        (mean[0], inverse[0]) = self.moments(&mut sum);
                        let (mean, inverse) = (mean[0], inverse[0]);
                        let sum = &sum[..d];
                        for (i, output) in output.iter_mut().enumerate() {
                            let normal = (sum[i] - mean) * inverse;
                            *output = E::narrow(normal.mul_add(self.weight[i], self.bias[i]));
                        }
                    }
                },
            )
        });
    }

    /// From the result's gradient, [T, d], and the `dropout` of the forward pass.
    fn backward<E: Element>(&self, saved: Saved<E>, grad: &[E], dropout: Dropout, gradients: Gradients<E>) {
        let d = self.weight.len();
        let Gradients { residual, linear, sums } = gradients;
        assert!(grad.len() == saved.sum.len() && grad.len() == residual.len() && grad.len() == d * saved.mean.len());
        assert!(linear.as_ref().is_none_or(|linear| linear.len() == grad.len()));
        let (residual, linear) = (Shared::new(residual), linear.map(Shared::new));
        column_sums(grad.len() / d, sums, |rows, [d_weight, d_bias, d_linear_bias]| {
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let whole = d.next_multiple_of(LANES);
                    let (mut normal, mut scaled) = (vec![0.0; whole], vec![0.0; whole]);
                    for row in rows {
                        let (sum, grad) = (&saved.sum[row * d..][..d], &grad[row * d..][..d]);
                        let (mean, inverse) = (saved.mean[row], saved.inverse[row]);
                        for i in 0..d {
                            let g = grad[i].widen();
                            normal[i] = (sum[i].widen() - mean) * inverse;
                            scaled[i] = g * self.weight[i];
                            d_weight[i] = g.mul_add(normal[i], d_weight[i]);
                            d_bias[i] += g;
                        }
                        let [mean, slope] = sums_of(&scaled, &normal).map(|sum| sum / d as f32);
                        // SAFETY: the rows of a block are its own.
                        let residual = unsafe { residual.slice(row * d, d) };
                        for (i, residual) in residual.iter_mut().enumerate() {
                            *residual = E::narrow(inverse * (scaled[i] - normal[i].mul_add(slope, mean)));
                        }
                        match &linear {
                            Some(linear) => {
                                // SAFETY: likewise.
                                let linear = unsafe { linear.slice(row * d, d) };
                                dropout.each(
                                    row * d,
                                    linear,
                                    #[inline(always)]
                                    |linear, factor, i| {
                                        *linear = E::narrow(residual[i].widen() * factor);
                                        d_linear_bias[i] += linear.widen();
                                    },
                                );
                            }
                            None => d_linear_bias.iter_mut().zip(residual).for_each(|(sum, d)| *sum += d.widen()),
                        }
                    }
                },
            )
        });
    }

    /// Mean and inverse deviation of the first d numbers; overwrites what follows them.
    #[inline(always)]
    fn moments(&self, numbers: &mut [f32]) -> (f32, f32) {
        let d = self.weight.len();
        numbers[d..].fill(0.0);
        let mean = fold(
            numbers,
            #[inline(always)]
            |sum, x| sum + x,
        ) / d as f32;
        numbers[d..].fill(mean);
        let variance = fold(
            numbers,
            #[inline(always)]
            |sum, x| (x - mean).mul_add(x - mean, sum),
        ) / d as f32;
        (mean, 1.0 / (variance + self.eps).sqrt())
    }
}

/// Folds numbers in whole vectors, lane by lane.
#[inline(always)]
fn fold(numbers: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    for numbers in numbers.chunks_exact(LANES) {
        lanes.iter_mut().zip(numbers).for_each(|(lane, x)| *lane = add(*lane, *x));
    }
    lanes.into_iter().sum()
}

/// Σ a and Σ a·b of whole vectors.
#[inline(always)]
fn sums_of(a: &[f32], b: &[f32]) -> [f32; 2] {
    let mut lanes = [[0.0f32; LANES]; 2];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for l in 0..LANES {
            lanes[0][l] += a[l];
            lanes[1][l] = a[l].mul_add(b[l], lanes[1][l]);
        }
    }
    lanes.map(|lanes| lanes.into_iter().sum())
}
