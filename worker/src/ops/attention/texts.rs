//! Which tokens are one text's.

use tch::Tensor;

/// Where one text's real tokens lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSpan {
    /// The first one's place among the T tokens.
    pub first: usize,
    /// Number of tokens.
    pub len: usize,
}

/// Neighbours of nearly one length: tokens `first .. first + num_texts · len`.
pub struct Group {
    /// The first token's place.
    pub first: i64,
    /// Texts.
    pub num_texts: i64,
    /// Tokens of each, padding included.
    pub len: i64,
    /// What is added to similarities, of their type, [num_texts, 1, 1, len]: 0, or −∞ where a token is padding. None
    /// when nothing is padded.
    pub attention_mask: Option<Tensor>,
}

impl Group {
    /// Tokens of all its texts, padding included.
    pub fn num_tokens(&self) -> i64 {
        self.num_texts * self.len
    }
}

/// Which tokens are one text's, twice: text by text, and by groups.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    /// Every text, in the groups' order.
    pub spans: &'a [TextSpan],
    /// Together they are the T tokens.
    pub groups: &'a [Group],
}
