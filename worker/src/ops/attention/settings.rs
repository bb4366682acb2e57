//! How to attend, whoever does it.

use tch::Tensor;

use crate::ops::dropout::Dropout;

/// How to attend.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// h.
    pub num_heads: i64,
    /// Of probabilities.
    pub dropout: Dropout,
}

/// Similarities are divided by the root of the head size, the last of `query`'s dimensions.
pub(super) fn scale(query: &Tensor) -> f64 {
    (query.size()[query.dim() - 1] as f64).powf(-0.5)
}
