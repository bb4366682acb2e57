//! Attention of every token to its own text, and of a text's first token alone.
//!
//! Tokens of all texts lie side by side, and nobody pads. There are three implementations. On a CPU in float32 and
//! bfloat16 it is a kernel of our own. On a GPU in bfloat16 it is libtorch's flash kernel. Neither ever holds a text's
//! probabilities. Elsewhere (float64; float32 on a GPU; cards before Ampere; heads whose size is no multiple of 8,
//! or above 256) it is the `reference`, which holds them, and is slow.
//!
//! Attention of the first token alone gives the same result and gradients as attention of all. Dense representations by
//! CLS pooling need nothing else of the last layer: the other tokens only give it keys and values.
//!
//! Legend: T tokens of the sub-batch, d hidden size, h heads, k head size.

mod cross;
mod flash;
mod reference;
mod settings;
mod texts;
mod tiles;
mod visible;

use tch::Tensor;
use tercet_configs::limits::MOST_PROBABILITIES;

pub use cross::CrossAttention;
pub use settings::Attention;
pub use texts::{TextRows, TextSpan, spans, starts};
pub use visible::{Visible, VisibleText};

use super::linear::LinearOutput;
use super::{Engine, cpu};
use settings::Asked;

/// What the forward pass saves for the backward pass.
pub enum Attended {
    /// By the kernel: the result, [R, d], and the logarithms of its rows' sums of exponentials, [R, h].
    Kernel([Tensor; 2]),
    /// By libtorch's flash kernel.
    Flash(flash::Saved),
    /// By the reference: the result, [R, d].
    Reference(Tensor),
}

impl Attended {
    /// The result, [R, d].
    pub fn output(&self) -> Tensor {
        match self {
            Self::Kernel([output, _]) | Self::Reference(output) => output.shallow_clone(),
            Self::Flash(saved) => saved.output(),
        }
    }
}

impl Attention {
    /// The attended values of all tokens, [T, d], from queries, keys and values beside each other, [T, 3d].
    pub fn forward(&self, qkv: &LinearOutput, texts: &TextRows) -> Attended {
        match Engine::of(&qkv.values) {
            Engine::Cpu => Attended::Kernel(self.kernel(qkv, texts).forward(&qkv.values)),
            Engine::Cuda | Engine::Libtorch => self.forward_by_libtorch(&self.all(qkv, texts)),
        }
    }

    /// The gradient of queries, keys and values, [T, 3d], from the result's, [T, d]. The gradient of their bias is left
    /// to the caller.
    pub fn backward(&self, qkv: &LinearOutput, texts: &TextRows, attended: &Attended, d_output: &Tensor) -> Tensor {
        match attended {
            Attended::Kernel(saved) => self.kernel(qkv, texts).backward(&qkv.values, saved.each_ref(), d_output),
            _ => {
                let gradients = self.backward_by_libtorch(&self.all(qkv, texts), attended, d_output);
                Tensor::stack(&gradients, 1).view_as(&qkv.values)
            }
        }
    }

    /// The attended values of each text's first token, [texts, d]; `firsts` are rows of one a text.
    pub fn forward_cls(&self, cls: &CrossAttention, firsts: &TextRows, texts: &TextRows) -> Attended {
        match Engine::of(&cls.query) {
            Engine::Cpu => Attended::Kernel(self.cls_kernel(texts).forward(&cls.query, &cls.key_value)),
            Engine::Cuda | Engine::Libtorch => self.forward_by_libtorch(&self.of_cls(cls, firsts, texts)),
        }
    }

    /// Gradients of queries, keys and values from the result's, [texts, d].
    pub fn backward_cls(
        &self,
        cls: &CrossAttention,
        (firsts, texts): (&TextRows, &TextRows),
        attended: &Attended,
        d_output: &Tensor,
    ) -> CrossAttention {
        match attended {
            Attended::Kernel([_, log_sums]) => {
                let [query, key_value] =
                    self.cls_kernel(texts).backward([&cls.query, &cls.key_value], log_sums, d_output);
                CrossAttention { query, key_value }
            }
            _ => {
                let asked = self.of_cls(cls, firsts, texts);
                let [query, key, value] = self.backward_by_libtorch(&asked, attended, d_output);
                let key_value = Tensor::stack(&[key, value], 1).view_as(&cls.key_value);
                CrossAttention { query: query.view_as(&cls.query), key_value }
            }
        }
    }

    /// The name of what attends to numbers of the type and device of `like`, with heads of `head_size` dimensions:
    /// `own`, `flash` or `reference`.
    pub fn kernel_name(&self, like: &Tensor, head_size: i64) -> &'static str {
        match Engine::of(like) {
            Engine::Cpu => "own",
            _ if flash::serves(like, head_size, self.dropout) => "flash",
            Engine::Cuda | Engine::Libtorch => "reference",
        }
    }

    fn forward_by_libtorch(&self, asked: &Asked) -> Attended {
        let query = &asked.parts[0];
        let is_in_grid = asked.num_texts() <= flash::MOST_TEXTS;
        if is_in_grid && flash::serves(query, query.size()[2], self.dropout) {
            Attended::Flash(flash::forward(self, asked))
        } else {
            Attended::Reference(reference::forward(self, asked, MOST_PROBABILITIES))
        }
    }

    fn backward_by_libtorch(&self, asked: &Asked, attended: &Attended, d_output: &Tensor) -> [Tensor; 3] {
        match attended {
            Attended::Flash(saved) => flash::backward(self, asked, saved, d_output),
            _ => reference::backward(self, asked, MOST_PROBABILITIES, d_output),
        }
    }

    fn all<'a>(&self, qkv: &LinearOutput, texts: &'a TextRows) -> Asked<'a> {
        let parts = qkv.values.view([qkv.values.size()[0], 3, self.num_heads, -1]);
        Asked { parts: [0, 1, 2].map(|part| parts.select(1, part)), asks: texts, answers: texts }
    }

    fn of_cls<'a>(&self, cls: &CrossAttention, firsts: &'a TextRows, texts: &'a TextRows) -> Asked<'a> {
        let query = cls.query.view([cls.query.size()[0], self.num_heads, -1]);
        let parts = cls.key_value.view([cls.key_value.size()[0], 2, self.num_heads, -1]);
        Asked { parts: [query, parts.select(1, 0), parts.select(1, 1)], asks: firsts, answers: texts }
    }

    fn kernel<'a>(&self, qkv: &'a LinearOutput, texts: &'a TextRows) -> cpu::attention::Attention<'a> {
        cpu::attention::Attention::new(texts.spans(), self.num_heads, qkv.bias(), self.dropout)
    }

    fn cls_kernel<'a>(&self, texts: &'a TextRows) -> cpu::attention::ClsAttention<'a> {
        cpu::attention::ClsAttention { texts: texts.spans(), num_heads: self.num_heads as usize, dropout: self.dropout }
    }
}
