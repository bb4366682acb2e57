//! Queries of some rows, and keys and values of other tokens.

use tch::Tensor;

/// What attention of rows to tokens is made of, or their gradients. Attention of CLS alone asks with a row for each
/// text, a decoder with a row for each place that it predicts.
pub struct CrossAttention {
    /// [rows, d].
    pub query: Tensor,
    /// Beside each other, [T, 2d].
    pub key_value: Tensor,
}
