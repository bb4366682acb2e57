//! The 2-norm, its squares added up in 64 bits.

use pulp::Arch;
use tch::Tensor;

use super::{Shared, elements};
use crate::tensors::libtorch::parallel;

/// Elements that a thread takes at a time.
const BLOCK: usize = 1 << 14;

/// Sums that a block is added up in, so that the processor need not wait for one.
const LANES: usize = 16;

/// The 2-norm of a contiguous tensor in float32.
pub fn norm(x: &Tensor) -> f64 {
    let numbers: &[f32] = elements(x);
    let mut sums = vec![0.0; numbers.len().div_ceil(BLOCK)];
    let num_blocks = sums.len();
    let shared = Shared::new(&mut sums);
    parallel(num_blocks, 1, |blocks| {
        for block in blocks {
            let own = &numbers[block * BLOCK..((block + 1) * BLOCK).min(numbers.len())];
            // SAFETY: every block has its own place.
            let place = unsafe { shared.slice(block, 1) };
            place[0] = sum_of_squares(own);
        }
    });
    sums.iter().sum::<f64>().sqrt()
}

fn sum_of_squares(numbers: &[f32]) -> f64 {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let (chunks, rest) = numbers.as_chunks::<LANES>();
            let mut sums = [0.0f64; LANES];
            for chunk in chunks {
                for (sum, &number) in sums.iter_mut().zip(chunk) {
                    *sum = f64::from(number).mul_add(f64::from(number), *sum);
                }
            }
            let of_rest: f64 = rest.iter().map(|&number| f64::from(number).powi(2)).sum();
            sums.iter().sum::<f64>() + of_rest
        },
    )
}
