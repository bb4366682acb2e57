//! The token ids that frame a text, and the two that pad and replace.

use serde::{Deserialize, Serialize};

/// Special token ids. Reads the `special_tokens.json` of a model directory; fields it does not know are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Stands before every text (`<s>`, `[CLS]`).
    #[serde(rename = "cls_token_id")]
    pub cls: u32,
    /// Stands after every text (`</s>`, `[SEP]`).
    #[serde(rename = "eos_token_id")]
    pub eos: u32,
    /// Fills a batch's shorter texts.
    #[serde(rename = "pad_token_id")]
    pub pad: u32,
    /// Stands for what the vocabulary lacks.
    #[serde(rename = "unk_token_id")]
    pub unk: u32,
}

impl SpecialTokens {
    /// Tokens that [`frame`](Self::frame) adds to a text.
    pub const NUM_FRAMING: usize = 2;

    /// CLS, then the content cut so that the whole has at most `max_len` tokens, then EOS.
    ///
    /// A `max_len` below 2 still gives CLS and EOS.
    pub fn frame(&self, content: &[u32], max_len: usize) -> Vec<u32> {
        let kept = content.len().min(max_len.saturating_sub(Self::NUM_FRAMING));
        let mut framed = Vec::with_capacity(kept + Self::NUM_FRAMING);
        framed.push(self.cls);
        framed.extend_from_slice(&content[..kept]);
        framed.push(self.eos);
        framed
    }

    /// The largest of the four ids.
    pub fn max_id(&self) -> u32 {
        self.cls.max(self.eos).max(self.pad).max(self.unk)
    }
}
