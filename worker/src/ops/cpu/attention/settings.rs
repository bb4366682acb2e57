//! What all pairs of a text and a head have in common.

use crate::ops::attention::TextSpan;
use crate::ops::dropout::Dropout;

/// The settings of attention.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// The texts, which are the T tokens.
    pub(super) texts: &'a [TextSpan],
    /// h.
    pub(super) num_heads: usize,
    /// k.
    pub(super) head_len: usize,
    /// Is added to queries, keys and values, `[3d]`.
    pub(super) bias: &'a [f32],
    /// Dropout of probabilities.
    pub(super) dropout: Dropout,
}
