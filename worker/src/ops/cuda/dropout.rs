//! Dropout by itself, in every type.

use tch::Tensor;

use super::launch::{Argument, Draw, Gpu, THREADS, grid_of_elements, of_kind};
use crate::ops::dropout::Dropout;

/// Zeroes elements of `x` and scales the others, in place.
///
/// # Panics
/// If it is not contiguous.
pub fn apply(gpu: &Gpu, dropout: Dropout, x: &mut Tensor) {
    let len = x.numel() as i64;
    if len > 0 {
        let arguments = [
            gpu.at(x, x.kind(), len),
            Argument::Count(len),
            Argument::Width(THREADS as i32),
            Argument::Draw(Draw::of(dropout)),
        ];
        // SAFETY: as text/elements.cu declares it.
        unsafe { gpu.launch(&format!("dropout_{}", of_kind(x.kind())), grid_of_elements(len), THREADS, &arguments) };
    }
}
