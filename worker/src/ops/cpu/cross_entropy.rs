//! The cross-entropy of rows of logits and its gradient, in place: two passes over a row that the cache holds.
//!
//! Legend: R rows, V the width (a vocabulary).

use pulp::Arch;
use tch::{Device, Kind, Tensor};

use super::product::LANES;
use super::{Shared, column_sums, elements, elements_mut, exp};

/// [R, 2] in float64: of each row −log softmax at its label, and 1 if its largest logit is there, else 0. `logits` are
/// [R, V] in float32, without the `bias`, `[V]`, which is added here; `labels` are `[R]`. With `d_bias`, `[V]`, the
/// logits become the gradient of `scale` times the sum of −log softmax, and its column sums are added to `d_bias`.
///
/// # Panics
/// If tensors have other sizes.
pub fn in_place(logits: &mut Tensor, bias: &Tensor, labels: &[i64], scale: f32, d_bias: Option<&mut Tensor>) -> Tensor {
    let mut told = Tensor::empty([labels.len() as i64, 2], (Kind::Double, Device::Cpu));
    let (rows, bias) = (elements_mut::<f32>(logits), elements::<f32>(bias));
    let width = bias.len();
    assert_eq!(rows.len(), labels.len() * width);
    let backward = d_bias.is_some();
    let mut none = vec![0.0; width];
    let sums = d_bias.map_or(none.as_mut_slice(), elements_mut::<f32>);
    let (rows, told_of) = (Shared::new(rows), Shared::new(elements_mut::<f64>(&mut told)));
    column_sums(labels.len(), [sums], |block, [sums]| {
        // A closure that gives away what it holds, here the block, is inlined as a whole; one that does not is called,
        // compiled for any processor.
        Arch::new().dispatch(
            #[inline(always)]
            || {
                for row in block {
                    // SAFETY: the rows of a block are its own.
                    let (logits, told) = unsafe { (rows.slice(row * width, width), told_of.slice(row * 2, 2)) };
                    let label = labels[row] as usize;
                    let largest = with_bias(logits, bias);
                    let at_label = logits[label];
                    let sum = exponentials(logits, largest, backward);
                    told[0] = f64::from(largest - at_label) + f64::from(sum).ln();
                    told[1] = f64::from(u8::from(at_label == largest));
                    if backward {
                        gradient(logits, label, scale / sum, scale, sums);
                    }
                }
            },
        );
    });
    told
}

/// Adds the bias; returns the largest of the logits that are not NaN. A NaN shows in the sum of exponentials.
#[inline(always)]
fn with_bias(logits: &mut [f32], bias: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = logits.as_chunks_mut::<LANES>();
    let (bias, bias_rest) = bias.as_chunks::<LANES>();
    for (logits, bias) in whole.iter_mut().zip(bias) {
        for ((x, bias), lane) in logits.iter_mut().zip(bias).zip(&mut lanes) {
            *x += bias;
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    for ((x, bias), lane) in rest.iter_mut().zip(bias_rest).zip(&mut lanes) {
        *x += bias;
        *lane = if *x > *lane { *x } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// The sum of e^(logit − largest), which with `keep` take the logits' place.
#[inline(always)]
fn exponentials(logits: &mut [f32], largest: f32, keep: bool) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = logits.as_chunks_mut::<LANES>();
    for logits in whole {
        for (x, lane) in logits.iter_mut().zip(&mut lanes) {
            let power = exp(*x - largest);
            *lane += power;
            *x = if keep { power } else { *x };
        }
    }
    for (x, lane) in rest.iter_mut().zip(&mut lanes) {
        let power = exp(*x - largest);
        *lane += power;
        *x = if keep { power } else { *x };
    }
    lanes.into_iter().sum()
}

/// Exponentials become the gradient, whose numbers are added to `sums`.
#[inline(always)]
fn gradient(exponentials: &mut [f32], label: usize, factor: f32, scale: f32, sums: &mut [f32]) {
    for (x, sum) in exponentials.iter_mut().zip(&mut *sums) {
        *x *= factor;
        *sum += *x;
    }
    exponentials[label] -= scale;
    sums[label] -= scale;
}
