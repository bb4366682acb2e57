//! Attention of every token to its own text.
//!
//! There are three implementations. On a CPU in float32 and bfloat16 it is a kernel of our own, text by text. Elsewhere
//! libtorch's fused kernels (flash attention, or what a GPU has) take groups of nearly equally long texts; neither ever
//! holds the probabilities of a text. With dropout in float64 on a CPU, where libtorch's would draw other masks than
//! the kernel, it is the `reference`, which holds them and is for tests.
//!
//! Legend: T tokens of the sub-batch, d hidden size, h heads, k head size, B and L texts and length of a group.

mod cls;
mod cross;
mod fused;
mod reference;
mod settings;
mod texts;
mod visible;

use tch::{Device, Tensor};

pub use cross::CrossAttention;
pub use settings::Attention;
pub use texts::{Group, TextSpan, Texts};
pub use visible::{Visible, VisibleText};

use super::linear::LinearOutput;
use super::{Engine, cpu};

/// What the forward pass saves for the backward pass.
pub enum Attended {
    /// By the kernel: the result, [T, d], and the logarithms of its rows' sums of exponentials, [T, h].
    Kernel([Tensor; 2]),
    /// By libtorch's, per group: queries, keys and values as leaves and the result above them, [B, h, L, k] each.
    Fused(Vec<([Tensor; 3], Tensor)>),
    /// By the reference: the result, [T, d].
    Reference(Tensor),
}

impl Attended {
    /// The result, [T, d].
    pub fn output(&self) -> Tensor {
        match self {
            Self::Kernel([output, _]) | Self::Reference(output) => output.shallow_clone(),
            Self::Fused(groups) => fused::output(groups),
        }
    }
}

impl Attention {
    /// From queries, keys and values beside each other, [T, 3d]; `keep` keeps what the backward pass needs.
    pub fn forward(&self, qkv: &LinearOutput, texts: Texts, keep: bool) -> Attended {
        let values = &qkv.values;
        match Engine::of(values) {
            Engine::Cpu => Attended::Kernel(self.kernel(qkv, texts).forward(values)),
            Engine::Libtorch if self.dropout.is_on() && values.device() == Device::Cpu => {
                Attended::Reference(reference::forward(self, values, texts.spans))
            }
            Engine::Libtorch => Attended::Fused(fused::forward(self, values, texts.groups, keep)),
        }
    }

    /// The gradient of queries, keys and values, [T, 3d], from the result's, [T, d]. The gradient of their bias is left
    /// to the caller.
    pub fn backward(&self, qkv: &LinearOutput, texts: Texts, attended: Attended, d_output: &Tensor) -> Tensor {
        let values = &qkv.values;
        match attended {
            Attended::Kernel(saved) => self.kernel(qkv, texts).backward(values, saved.each_ref(), d_output),
            Attended::Fused(graphs) => fused::backward(self, values, texts.groups, graphs, d_output),
            Attended::Reference(_) => reference::backward(self, values, texts.spans, d_output),
        }
    }

    /// The name of the kernel that attends to a group: the one that libtorch chooses by types, sizes, mask and dropout,
    /// or `own`.
    pub fn kernel_name(&self, qkv: &LinearOutput, group: &Group) -> &'static str {
        match Engine::of(&qkv.values) {
            Engine::Cpu => "own",
            Engine::Libtorch => fused::kernel_name(self, &qkv.values, group),
        }
    }

    fn kernel<'a>(&self, qkv: &'a LinearOutput, texts: Texts<'a>) -> cpu::attention::Attention<'a> {
        cpu::attention::Attention::new(texts.spans, self.num_heads, qkv.bias(), self.dropout)
    }
}
