//! The activation function x·Φ(x) (Hendrycks and Gimpel, 2016, arXiv 1606.08415), exact, and its derivative.

use pulp::Arch;
use tch::Tensor;

use super::{Element, Shared, column_sums, elements, elements_mut, exp, for_each_block, in_elements_of};

/// [T, f] of `x` + `bias`, [T, f] and `[f]` in float32.
///
/// # Panics
/// If they have other sizes.
pub fn forward(x: &Tensor, bias: &Tensor) -> Tensor {
    let mut output = x.empty_like();
    in_elements_of!(x, E => forward_in::<E>(elements(x), elements(bias), elements_mut(&mut output)));
    output
}

/// The result, recomputed, and the gradient of `x` from the result's gradient `d`, [T, f] each. The sums of the
/// latter's columns are added to `sums`, `[f]` in float32.
///
/// # Panics
/// If they have other sizes.
pub fn backward(x: &Tensor, bias: &Tensor, mut d: Tensor, sums: &mut Tensor) -> [Tensor; 2] {
    let mut output = x.empty_like();
    in_elements_of!(x, E => {
        let [d_x, again] = [&mut d, &mut output].map(elements_mut::<E>);
        backward_in(elements(x), elements(bias), d_x, again, elements_mut(sums));
    });
    [output, d]
}

fn forward_in<E: Element>(x: &[E], bias: &[f32], output: &mut [E]) {
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

/// Makes `d` the gradient of `x`, and `output` the result.
fn backward_in<E: Element>(x: &[E], bias: &[f32], d: &mut [E], output: &mut [E], sums: &mut [f32]) {
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

/// The standard normal distribution at x: its cumulative probability, to 1e-7, and its density. The error function is
/// approximated as in Abramowitz and Stegun (1964), 7.1.26.
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
    use super::*;

    #[test]
    fn what_is_far_from_0_or_not_a_number_stays_so() {
        let mut found = [0.0; 3];
        forward_in(&[f32::NAN, -1e30, 1e30], &[0.0; 3], &mut found);
        assert!(found[0].is_nan() && found[1] == 0.0 && found[2] == 1e30, "{found:?}");
    }
}
