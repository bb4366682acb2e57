//! Attention by libtorch's flash kernel (Dao, 2023, arXiv 2307.08691), which takes texts of any lengths side by side
//! and holds no probabilities.
//!
//! libtorch's own door to it, `scaled_dot_product_attention`, wants a rectangle of equally long texts, so the kernel is
//! called directly. Its dropout is its own: the mask follows from libtorch's generator, which is seeded with the place.
//!
//! Legend: R rows that ask, T tokens that answer, d hidden size, h heads, k head size.

use tch::{Device, Kind, Tensor};
use tercet_configs::limits::flash_takes;

use super::settings::{Asked, Attention, scale};
use crate::ops::dropout::Dropout;
use crate::tensors::libtorch;

/// What the forward pass saves for the backward pass.
pub struct Saved(libtorch::FlashAttention);

/// Whether the kernel takes numbers of this type and device, with heads of this size and this dropout.
pub fn serves(like: &Tensor, head_size: i64, dropout: Dropout) -> bool {
    if !matches!(like.device(), Device::Cuda(_)) || like.kind() != Kind::BFloat16 {
        return false;
    }
    // The kernel pads no heads; libtorch's door does, and so would choose it.
    flash_takes(head_size as usize) && {
        // libtorch knows its kernels' demands. It looks at types, sizes and the card, never at the numbers.
        const FLASH: i64 = 1;
        let one = Tensor::empty([1, 1, 1, head_size], (like.kind(), like.device())).set_requires_grad(true);
        let p = dropout.probability();
        let choose = || Tensor::internal_fused_sdp_choice(&one, &one, &one, None::<&Tensor>, p, false, None, false);
        tch::with_grad(choose) == FLASH
    }
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
