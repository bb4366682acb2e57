//! The weights of a layer norm.

use crate::ops::Weight;

/// A layer norm.
pub struct LayerNorm {
    /// `[d]`.
    pub weight: Weight,
    /// `[d]`.
    pub bias: Weight,
    /// Added to the variance.
    pub eps: f64,
}
