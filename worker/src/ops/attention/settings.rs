//! The settings of attention, for every implementation.

use tch::Tensor;

use crate::ops::dropout::Dropout;

/// The settings of attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// h.
    pub num_heads: i64,
    /// Dropout of probabilities.
    pub dropout: Dropout,
}

/// The factor of similarities: one over the root of the head size, the last of `query`'s dimensions.
pub(super) fn scale(query: &Tensor) -> f64 {
    (query.size()[query.dim() - 1] as f64).powf(-0.5)
}
