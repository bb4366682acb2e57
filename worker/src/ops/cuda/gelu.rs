//! The bias and the activation function, in one pass forward and one and a small one backward.

use tch::{Kind, Tensor};

use super::launch::{Argument, Gpu, Rows, THREADS, blocks};
use super::sums;

/// [T, d] of `x` + `bias`, [T, d] and `[d]` in float32.
///
/// # Panics
/// If they have other sizes.
pub fn forward(gpu: &Gpu, x: &Tensor, bias: &Tensor) -> Tensor {
    let (rows, output) = (Rows::of(x), x.empty_like());
    if rows.num_rows > 0 {
        let (grid, columns) = tiles(&rows);
        let arguments = [
            gpu.rows_at(x, &rows),
            gpu.at(bias, Kind::Float, rows.width),
            gpu.rows_at(&output, &rows),
            Argument::Count(rows.num_rows),
            rows.width(),
            columns,
        ];
        // SAFETY: as text/gelu.cu declares it; all sizes were looked at.
        unsafe { gpu.launch(&rows.named("gelu_forward"), grid, THREADS, &arguments) };
    }
    output
}

/// The result, recomputed, and the gradient of `x` from the result's gradient `d`, [T, d] each. The sums of the
/// latter's columns are added to `into`, `[d]` in float32.
///
/// # Panics
/// If they have other sizes.
pub fn backward(gpu: &Gpu, x: &Tensor, bias: &Tensor, d: Tensor, into: &mut Tensor) -> [Tensor; 2] {
    let (rows, output) = (Rows::of(x), x.empty_like());
    if rows.num_rows > 0 {
        let (grid, columns) = tiles(&rows);
        let of_blocks = sums::room(&rows, 1, x);
        let arguments = [
            gpu.rows_at(x, &rows),
            gpu.at(bias, Kind::Float, rows.width),
            gpu.rows_at(&d, &rows),
            gpu.rows_at(&output, &rows),
            gpu.at(&of_blocks, Kind::Float, rows.blocks() * rows.width),
            Argument::Count(rows.num_rows),
            rows.width(),
            columns,
        ];
        // SAFETY: as text/gelu.cu declares it; all sizes were looked at. Nobody else has `d`.
        unsafe { gpu.launch(&rows.named("gelu_backward"), grid, THREADS, &arguments) };
        sums::add(gpu, &rows, &of_blocks, [into]);
    }
    [output, d]
}

/// Blocks of rows, by blocks of columns; and the columns of one of these.
fn tiles(rows: &Rows) -> ([i64; 2], Argument) {
    let columns = THREADS * rows.columns;
    ([rows.blocks(), blocks(rows.width, columns)], Argument::Width(columns as i32))
}
