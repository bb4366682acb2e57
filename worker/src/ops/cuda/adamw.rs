//! AdamW's update, the clipping of its gradient and the weights' copy in bfloat16, in one pass.

use tch::{Kind, Tensor};

use super::launch::{Argument, Constants, Gpu, THREADS, grid_of_elements};
use crate::ops::adamw::Update;

/// Updates weights and moments, `[n]` in float32 each; `copy`, if there is one, becomes the weights in bfloat16.
///
/// # Panics
/// If they have different lengths.
pub fn apply(
    gpu: &Gpu,
    update: &Update,
    weights: &mut Tensor,
    gradient: &Tensor,
    [means, squares]: [&mut Tensor; 2],
    copy: Option<&mut Tensor>,
) {
    let len = weights.numel() as i64;
    if len == 0 {
        return;
    }
    let [fresh_mean, fresh_square] = update.betas.map(|beta| (1.0 - beta) as f32);
    let numbers = [
        update.clip as f32,
        update.kept as f32,
        fresh_mean,
        fresh_square,
        update.rate as f32,
        (1.0 / update.root) as f32,
        update.epsilon as f32,
    ];
    let arguments = [
        gpu.at(weights, Kind::Float, len),
        gpu.at(gradient, Kind::Float, len),
        gpu.at(means, Kind::Float, len),
        gpu.at(squares, Kind::Float, len),
        copy.map_or(Argument::At(0), |copy| gpu.at(copy, Kind::BFloat16, len)),
        Argument::Count(len),
        Argument::Width(THREADS as i32),
        Argument::Constants(Constants { numbers }),
    ];
    // SAFETY: as text/elements.cu declares it; all sizes were looked at.
    unsafe { gpu.launch("adamw", grid_of_elements(len), THREADS, &arguments) };
}
