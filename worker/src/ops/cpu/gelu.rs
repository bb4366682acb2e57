//! The activation function x·Φ(x) (Hendrycks and Gimpel, 2016, arXiv 1606.08415), exact, and its derivative.

use pulp::Arch;

use crate::ops::cpu::{Element, Shared, column_sums, exp, for_each_block};

/// [T, f] of `x` + `bias`, [T, f] and `[f]`.
///
/// # Panics
/// If the slices have other lengths.
pub fn forward<E: Element>(x: &[E], bias: &[f32], output: &mut [E]) {
    let width = bias.len();
    assert!(x.len() == output.len() && x.len().is_multiple_of(width));
    let output = Shared::new(output);
    for_each_block(x.len() / width, |_, rows| {
        for row in rows {
            // SAFETY: the rows of a block are its own.
            let output = unsafe { output.slice(row * width, width) };
            let x = &x[row * width..][..width];
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((x, bias), output) in x.iter().zip(bias).zip(output) {
                        let x = x.widen() + bias;
                        *output = E::narrow(x * normal(x).0);
                    }
                },
            )
        }
    });
}

/// What the backward pass needs at once, [T, f] each: makes `d` the gradient of `x` from the result's, writes the result once
/// more, and adds the columns of `x`'s gradient to `sums`, `[f]`.
///
/// # Panics
/// If the slices have other lengths.
pub fn backward<E: Element>(x: &[E], bias: &[f32], d: &mut [E], output: &mut [E], sums: &mut [f32]) {
    let width = sums.len();
    assert!(x.len() == d.len() && x.len() == output.len() && x.len().is_multiple_of(width));
    assert_eq!(bias.len(), width);
    let (d, output) = (Shared::new(d), Shared::new(output));
    column_sums(x.len() / width, [sums], |rows, [sums]| {
        for row in rows {
            // SAFETY: the rows of a block are its own.
            let (d, output) = unsafe { (d.slice(row * width, width), output.slice(row * width, width)) };
            let x = &x[row * width..][..width];
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for ((((x, bias), d), output), sum) in x.iter().zip(bias).zip(d).zip(output).zip(&mut *sums) {
                        let x = x.widen() + bias;
                        let (below, density) = normal(x);
                        *output = E::narrow(x * below);
                        *d = E::narrow(d.widen() * x.mul_add(density, below));
                        *sum += d.widen();
                    }
                },
            )
        }
    });
}

/// The normal distribution at x: how much lies below, to 1e-7, and its density. The error function is approximated as in
/// Abramowitz and Stegun (1964), 7.1.26.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let power = exp(-0.5 * x * x);
    let t = 1.0 / 0.327_591_1f32.mul_add(z, 1.0);
    let mut series = 1.061_405_4f32;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        series = series.mul_add(t, coefficient);
    }
    let tail = 0.5 * series * t * power;
    (if x < 0.0 { tail } else { 1.0 - tail }, 0.398_942_3 * power)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::ops::cpu::{BFloat16, elements, elements_mut};

    const SHAPE: [i64; 2] = [70, 41];

    fn by_kernel<E: Element>(x: &Tensor, bias: &Tensor, d: &Tensor) -> [Tensor; 4] {
        let [mut once, mut again, mut d] = [x.empty_like(), x.empty_like(), d.copy()];
        let mut sums = Tensor::ones([SHAPE[1]], (Kind::Float, Device::Cpu));
        forward::<E>(elements(x), elements(bias), elements_mut(&mut once));
        backward::<E>(
            elements(x),
            elements(bias),
            elements_mut(&mut d),
            elements_mut(&mut again),
            elements_mut(&mut sums),
        );
        [once, again, d, sums - 1.0]
    }

    #[test]
    fn the_kernel_is_the_function_and_its_derivative() {
        let wave =
            |step: f64| (Tensor::arange(SHAPE.iter().product::<i64>(), (Kind::Double, Device::Cpu)) * step).sin();
        // The approximation to 1e-7, times x, and the rounded sum with the bias.
        for (kind, tolerance) in [(Kind::Float, 2e-6), (Kind::BFloat16, 2e-2)] {
            let (x, d) = ((wave(0.7) * 6.0).view(SHAPE).to_kind(kind), wave(0.3).view(SHAPE).to_kind(kind));
            let bias = (wave(0.5).narrow(0, 0, SHAPE[1]) * 0.2).to_kind(Kind::Float);
            let found = match kind {
                Kind::Float => by_kernel::<f32>(&x, &bias, &d),
                _ => by_kernel::<BFloat16>(&x, &bias, &d),
            };
            let (x, d) = (x.to_kind(Kind::Double) + &bias, d.to_kind(Kind::Double));
            let (exact, d_x) = (x.gelu("none"), x.gelu_backward(&d, "none"));
            let sums = d_x.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
            for (found, exact) in found.iter().zip([&exact, &exact, &d_x, &sums]) {
                let error = (found.to_kind(Kind::Double) - exact).abs().max().double_value(&[]);
                let scale = exact.abs().max().double_value(&[]);
                assert!(error <= tolerance * scale, "{kind:?}: off by {error} of {scale}");
            }
        }
        let mut found = [0.0; 3];
        forward(&[f32::NAN, -1e30, 1e30], &[0.0; 3], &mut found);
        assert!(found[0].is_nan() && found[1] == 0.0 && found[2] == 1e30, "{found:?}");
    }
}
