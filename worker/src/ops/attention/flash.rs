//! Attention by libtorch's flash kernel (Dao, 2023, arXiv 2307.08691), which takes texts of any lengths side by side
//! and holds no probabilities.
//!
//! libtorch's own door to it, `scaled_dot_product_attention`, wants a rectangle of equally long texts, so the kernel is
//! called directly. Its dropout is its own: the mask follows from libtorch's generator, which is seeded with the place.
//!
//! Legend: R rows that ask, T tokens that answer, d hidden size, h heads, k head size.

use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};
use tercet_configs::limits::flash_takes;

use super::settings::{Asked, Attention, scale};
use crate::ops::dropout::Dropout;
use crate::tensors::libtorch;

/// What the forward pass saves for the backward pass.
pub struct Saved(libtorch::FlashAttention);

/// Texts that the kernel takes at a time: each is a line of its grid, and CUDA's grids have no more.
pub const MOST_TEXTS: usize = 65_535;

/// What libtorch's answer depends on: the device, the heads' size, and whether anything is dropped.
type Case = (Device, i64, bool);

/// Whether the kernel takes numbers of this type and device, with heads of this size and this dropout. libtorch is
/// asked once a process for each case: every layer of every pass wants to know, and the answer stays.
pub fn serves(like: &Tensor, head_size: i64, dropout: Dropout) -> bool {
    static ANSWERS: Mutex<Vec<(Case, bool)>> = Mutex::new(Vec::new());
    let device = like.device();
    // The kernel pads no heads; libtorch's door does, and so would choose it.
    if !device.is_cuda() || like.kind() != Kind::BFloat16 || !flash_takes(head_size as usize) {
        return false;
    }
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let case = (device, head_size, dropout.is_on());
    if let Some((_, answer)) = answers.iter().find(|(asked, _)| *asked == case) {
        return *answer;
    }
    let answer = is_chosen(device, head_size, dropout);
    answers.push((case, answer));
    answer
}

/// Whether libtorch would choose the kernel. It knows its kernels' demands, and looks at types, sizes and the card,
/// never at the numbers.
fn is_chosen(device: Device, head_size: i64, dropout: Dropout) -> bool {
    const FLASH: i64 = 1;
    let one = Tensor::empty([1, 1, 1, head_size], (Kind::BFloat16, device)).set_requires_grad(true);
    let p = dropout.probability();
    let choose = || Tensor::internal_fused_sdp_choice(&one, &one, &one, None::<&Tensor>, p, false, None, false);
    tch::with_grad(choose) == FLASH
}

/// What is attended to, and what the backward pass needs of it.
pub fn forward(attention: &Attention, asked: &Asked) -> Saved {
    let (dropout, parts) = (attention.dropout, asked.parts.each_ref());
    let attend =
        || libtorch::flash_attention(parts, asked.starts(), asked.longest(), dropout.probability(), scale(parts[0]));
    Saved(if dropout.is_on() { dropout.drawn_by_libtorch(attend) } else { attend() })
}

/// The gradients of queries [R, h, k], keys and values [T, h, k], from the result's, [R, d].
pub fn backward(attention: &Attention, asked: &Asked, saved: &Saved, d_output: &Tensor) -> [Tensor; 3] {
    let p = attention.dropout.probability();
    let parts = asked.parts.each_ref();
    let d_output = d_output.view_as(&saved.0.output);
    saved.0.backward(&d_output, parts, asked.starts(), asked.longest(), p, scale(parts[0]))
}

impl Saved {
    /// The result, [R, d].
    pub fn output(&self) -> Tensor {
        self.0.output.flatten(1, 2)
    }
}
