//! Kernels for a CPU in float32 and bfloat16: loops of our own, where libtorch's operations, each a pass over memory,
//! take a large part of a step. They run on libtorch's threads, with the vector instructions that the processor has.
//! Every result is the same on any number of threads.
//!
//! Not here: large matrix products, which are oneDNN's or MKL's ([`super::linear`]).

pub mod adamw;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod gelu;
pub mod inner_products;
pub mod layer_norm;
pub mod norm;
mod number;
mod product;
mod slices;

use std::ops::Range;

use crate::tensors::libtorch::parallel;
use number::{Element, Number, in_elements_of};
use slices::{Shared, elements, elements_mut};

/// Rows that are worked on at a time: enough to be worth a thread's while, few enough to stay in its cache.
const BLOCK_ROWS: usize = 32;

/// Calls `work` with every block of 0..`num_rows`, and its number, on all threads.
fn for_each_block(num_rows: usize, work: impl Fn(usize, Range<usize>) + Sync) {
    parallel(num_rows.div_ceil(BLOCK_ROWS), 1, |blocks| {
        for block in blocks {
            work(block, block * BLOCK_ROWS..((block + 1) * BLOCK_ROWS).min(num_rows));
        }
    });
}

/// As [`for_each_block`]; each block has its own sums, which are then added to `sums` in the order of the blocks.
fn column_sums<const N: usize>(
    num_rows: usize,
    sums: [&mut [f32]; N],
    work: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
) {
    let width = sums[0].len();
    assert!(sums.iter().all(|sum| sum.len() == width));
    let mut of_blocks = vec![0.0; num_rows.div_ceil(BLOCK_ROWS) * N * width];
    let shared = Shared::new(&mut of_blocks);
    for_each_block(num_rows, |block, rows| {
        // SAFETY: every block and every one of its sums has its own place.
        work(rows, std::array::from_fn(|n| unsafe { shared.slice((block * N + n) * width, width) }));
    });
    for (place, own) in of_blocks.chunks_exact(width.max(1)).enumerate() {
        sums[place % N].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
}

/// e^x to about 1e-7 of it; 0 where that is below 1e-37. The polynomial is that of Cephes (Moshier, 1989).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const SMALLEST: f32 = -86.0;
    const LARGEST: f32 = 88.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding this leaves the nearest integer in the lowest bits of the sum.
    const TO_INTEGER: f32 = 12_582_912.0;
    // Written so that NaN stays NaN.
    let within = if x < SMALLEST { SMALLEST } else { x };
    let within = if within > LARGEST { LARGEST } else { within };
    let shifted = within.mul_add(std::f32::consts::LOG2_E, TO_INTEGER);
    let twos = shifted - TO_INTEGER;
    let rest = twos.mul_add(-LN2_LOW, twos.mul_add(-LN2_HIGH, within));
    let mut series = 1.987_569_1e-4f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series.mul_add(rest, coefficient);
    }
    let series = series.mul_add(rest * rest, rest + 1.0);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if x < SMALLEST { 0.0 } else { series * power }
}
