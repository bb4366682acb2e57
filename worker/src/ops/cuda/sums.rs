//! Sums over rows: kernels leave those of blocks of 32 rows, and these are added up in their order.

use tch::{Kind, Tensor};

use super::launch::{Argument, Gpu, Rows, blocks};

/// Columns that a block adds up.
const COLUMNS: i64 = 32;

/// Room for the sums of blocks of rows, [blocks, N, d].
pub fn room(rows: &Rows, num_sums: usize, like: &Tensor) -> Tensor {
    Tensor::empty([rows.blocks(), num_sums as i64, rows.width], (Kind::Float, like.device()))
}

/// Adds the sums of `of_blocks`, [blocks, N, d], over blocks to `into`, `[d]` in float32 each.
///
/// # Panics
/// If they have other sizes, or are more than three.
pub fn add<const N: usize>(gpu: &Gpu, rows: &Rows, of_blocks: &Tensor, into: [&mut Tensor; N]) {
    const { assert!(N <= 3) };
    let (num_blocks, count) = (rows.blocks(), N as i64);
    let mut targets = [Argument::At(0); 3];
    for (target, into) in targets.iter_mut().zip(into) {
        *target = gpu.at(into, Kind::Float, rows.width);
    }
    let of_blocks = gpu.at(of_blocks, Kind::Float, num_blocks * count * rows.width);
    let [first, second, third] = targets;
    let arguments =
        [of_blocks, Argument::Count(num_blocks), Argument::Width(N as i32), rows.width(), first, second, third];
    let grid = [blocks(count * rows.width, COLUMNS), 1];
    // SAFETY: as text/sums.cu declares it; all sizes were looked at.
    unsafe { gpu.launch("add_sums", grid, COLUMNS * 32, &arguments) };
}
