//! The operations between two linear maps: bias, dropout, the residual and layer normalisation, in one pass forward and
//! one and a small one backward.

use tch::{Kind, Tensor};

use super::launch::{Argument, Draw, Gpu, Rows};
use super::sums;
use crate::ops::dropout::Dropout;
use crate::ops::layer_norm::{LayerNorm, Normalised};

/// norm(dropout(`x` + `linear_bias`) + `residual`), [T, d], and what the backward pass needs; the bias is `[d]` in
/// float32.
///
/// # Panics
/// If tensors have other sizes.
pub fn forward_sum(
    gpu: &Gpu,
    norm: &LayerNorm,
    x: Tensor,
    linear_bias: &Tensor,
    residual: &Tensor,
    dropout: Dropout,
) -> (Tensor, Normalised) {
    let (rows, output) = (Rows::of(&x), x.empty_like());
    let [mean, rstd] = [(); 2].map(|()| Tensor::empty([rows.num_rows, 1], (Kind::Float, x.device())));
    if rows.num_rows > 0 {
        let weight = |weight: &Tensor| gpu.at(weight, Kind::Float, rows.width);
        let arguments = [
            gpu.rows_at(&x, &rows),
            weight(linear_bias),
            gpu.rows_at(residual, &rows),
            weight(&norm.weight.master),
            weight(&norm.bias.master),
            gpu.rows_at(&output, &rows),
            gpu.at(&mean, Kind::Float, rows.num_rows),
            gpu.at(&rstd, Kind::Float, rows.num_rows),
            rows.width(),
            Argument::Number(norm.eps as f32),
            Argument::Draw(Draw::of(dropout)),
        ];
        // SAFETY: as text/layer_norm.cu declares it; all sizes were looked at.
        unsafe { gpu.launch(&rows.named("norm_forward"), [rows.num_rows, 1], rows.threads(), &arguments) };
    }
    (output, Normalised { input: x, mean, rstd })
}

/// Gradients of the residual and of `x` from the result's, [T, d]; adds those of the norm's weight, of its bias and of
/// the linear map's bias to `into`, `[d]` in float32 each.
///
/// # Panics
/// If tensors have other sizes.
pub fn backward_sum(
    gpu: &Gpu,
    norm: &LayerNorm,
    saved: &Normalised,
    grad: &Tensor,
    dropout: Dropout,
    into: [&mut Tensor; 3],
) -> [Tensor; 2] {
    let (rows, d_residual) = (Rows::of(grad), grad.empty_like());
    let d_x = dropout.is_on().then(|| grad.empty_like());
    if rows.num_rows > 0 {
        let of_blocks = sums::room(&rows, 3, grad);
        let arguments = [
            gpu.rows_at(&saved.input, &rows),
            gpu.at(&saved.mean, Kind::Float, rows.num_rows),
            gpu.at(&saved.rstd, Kind::Float, rows.num_rows),
            gpu.rows_at(grad, &rows),
            gpu.at(&norm.weight.master, Kind::Float, rows.width),
            gpu.rows_at(&d_residual, &rows),
            d_x.as_ref().map_or(Argument::At(0), |d_x| gpu.rows_at(d_x, &rows)),
            gpu.at(&of_blocks, Kind::Float, rows.blocks() * 3 * rows.width),
            Argument::Count(rows.num_rows),
            rows.width(),
            Argument::Draw(Draw::of(dropout)),
        ];
        // SAFETY: as text/layer_norm.cu declares it; all sizes were looked at.
        unsafe { gpu.launch(&rows.named("norm_backward"), [rows.blocks(), 1], rows.threads(), &arguments) };
        sums::add(gpu, &rows, &of_blocks, into);
    }
    let d_x = d_x.unwrap_or_else(|| d_residual.shallow_clone());
    [d_residual, d_x]
}
