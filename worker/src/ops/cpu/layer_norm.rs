//! What follows a linear map, up to the next one: dropout, the residual and layer normalisation (Ba et al., 2016, arXiv
//! 1607.06450), in one pass each way.
//!
//! Legend: T tokens, d hidden size.

use pulp::Arch;

use super::dropout::Dropout;
use super::product::LANES;
use crate::ops::cpu::{Element, Shared, column_sums, for_each_block};

/// Weight and bias, `[d]` each, and what is added to the variance.
#[derive(Clone, Copy)]
pub struct Norm<'a> {
    /// `[d]`.
    pub weight: &'a [f32],
    /// `[d]`.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// What the forward pass leaves: what was normalised, [T, d], and each row's mean and inverse deviation, `[T]`.
#[derive(Clone, Copy)]
pub struct Saved<'a, E> {
    /// [T, d].
    pub sum: &'a [E],
    /// `[T]`.
    pub mean: &'a [f32],
    /// `[T]`.
    pub inverse: &'a [f32],
}

/// Gradients of what follows a linear map.
pub struct Gradients<'a, E> {
    /// Of the residual, [T, d].
    pub residual: &'a mut [E],
    /// Of the linear map's result, [T, d]; none where it is the residual's, without dropout.
    pub linear: Option<&'a mut [E]>,
    /// Is added to those of the norm's weight, of its bias and of the linear map's bias, `[d]` each.
    pub sums: [&'a mut [f32]; 3],
}

impl Norm<'_> {
    /// [T, d]: norm(dropout(`x` + `linear_bias`) + `residual`). `x` becomes the sum that is normalised.
    ///
    /// # Panics
    /// If the slices have other lengths.
    pub fn forward<E: Element>(
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
    ///
    /// # Panics
    /// If the slices have other lengths.
    pub fn backward<E: Element>(&self, saved: Saved<E>, grad: &[E], dropout: Dropout, gradients: Gradients<E>) {
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

    /// Mean and inverse deviation of the first d numbers; uses what follows them.
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

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::ops::cpu::{BFloat16, elements, elements_mut};
    use crate::tensors::libtorch;

    const ROWS: i64 = 70;

    /// Result, and gradients of the linear map's result, the residual, the norm's weight and bias, the map's bias.
    fn by_kernel<E: Element>([x, residual, grad]: &[Tensor; 3], weights: &[Tensor; 3], p: f64) -> [Tensor; 6] {
        let [weight, bias, linear_bias] = weights;
        let (norm, dropout) = (Norm { weight: elements(weight), bias: elements(bias), eps: 1e-5 }, Dropout::new(5, p));
        let [mut sum, mut output] = [x.copy(), x.empty_like()];
        let (mut mean, mut inverse) = ([0.0; ROWS as usize], [0.0; ROWS as usize]);
        let moments = [&mut mean[..], &mut inverse[..]];
        norm.forward::<E>(
            elements_mut(&mut sum),
            elements(linear_bias),
            elements(residual),
            dropout,
            elements_mut(&mut output),
            moments,
        );
        let [mut d_x, mut d_residual] = [x.empty_like(), x.empty_like()];
        let mut sums = [(); 3].map(|()| Tensor::zeros(weight.size(), (Kind::Float, Device::Cpu)));
        let gradients = Gradients {
            residual: elements_mut(&mut d_residual),
            linear: (p > 0.0).then(|| elements_mut(&mut d_x)),
            sums: sums.each_mut().map(elements_mut),
        };
        let saved = Saved { sum: elements(&sum), mean: &mean, inverse: &inverse };
        norm.backward::<E>(saved, elements(grad), dropout, gradients);
        let d_x = if p > 0.0 { d_x } else { d_residual.copy() };
        let [d_weight, d_bias, d_linear_bias] = sums;
        [output, d_x, d_residual, d_weight, d_bias, d_linear_bias]
    }

    fn by_autograd(inputs: &[Tensor; 3], weights: &[Tensor; 3], p: f64) -> [Tensor; 6] {
        let exact = |t: &Tensor| t.to_kind(Kind::Double).set_requires_grad(true);
        let [x, residual, grad] = inputs.each_ref().map(exact);
        let [weight, bias, linear_bias] = weights.each_ref().map(exact);
        let mut kept = vec![1.0f32; x.numel()];
        Dropout::new(5, p).apply_row(&mut kept, 0);
        let kept = Tensor::from_slice(&kept).to_kind(Kind::Double).view_as(&x);
        let output =
            ((&x + &linear_bias) * kept + &residual).layer_norm([x.size()[1]], Some(&weight), Some(&bias), 1e-5, false);
        libtorch::backward(&[(&output, &grad)]);
        [output.detach(), x.grad(), residual.grad(), weight.grad(), bias.grad(), linear_bias.grad()]
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let wave = |rows: i64, step: f64| (Tensor::arange(rows * 48, (Kind::Float, Device::Cpu)) * step).sin();
        let weights = [0.11, 0.23, 0.19].map(|step| wave(1, step));
        let inputs = [0.71, 0.37, 0.53].map(|step| wave(ROWS, step).view([ROWS, 48]));
        let threads = tch::get_num_threads();
        let [one, three] = [1, 3].map(|count| {
            tch::set_num_threads(count);
            by_kernel::<f32>(&inputs, &weights, 0.1)
        });
        tch::set_num_threads(threads);
        assert_eq!(one, three);
    }

    #[test]
    fn the_kernel_is_dropout_residual_norm_and_their_derivatives() {
        for (width, p) in [(48, 0.0), (41, 0.1), (768, 0.1)] {
            let wave = |rows: i64, step: f64| {
                let numbers = Tensor::arange(rows * width, (Kind::Double, Device::Cpu)) * step;
                (numbers.sin() * 2.0 + 0.3).view([rows, width])
            };
            let weights = [0.11, 0.23, 0.19].map(|step| wave(1, step).flatten(0, 1).to_kind(Kind::Float));
            for (kind, tolerance) in [(Kind::Float, 3e-6), (Kind::BFloat16, 3e-2)] {
                let inputs = [0.71, 0.37, 0.53].map(|step| wave(ROWS, step).to_kind(kind));
                let found = match kind {
                    Kind::Float => by_kernel::<f32>(&inputs, &weights, p),
                    _ => by_kernel::<BFloat16>(&inputs, &weights, p),
                };
                for (which, (found, exact)) in found.iter().zip(by_autograd(&inputs, &weights, p)).enumerate() {
                    let error = (found.to_kind(Kind::Double) - &exact).abs().max().double_value(&[]);
                    let scale = exact.abs().max().double_value(&[]);
                    assert!(
                        error <= tolerance * scale,
                        "{kind:?}, width {width}, number {which}: off by {error} of {scale}"
                    );
                }
            }
        }
    }
}
