//! Queries of some rows, and keys and values of other tokens.

use tch::Tensor;

/// The operands of attention of rows to tokens, or their gradients. Attention of CLS alone has a query row for each
/// text, and a decoder has one for each place that it predicts.
pub struct CrossAttention {
    /// [rows, d].
    pub query: Tensor,
    /// Beside each other, [T, 2d].
    pub key_value: Tensor,
}
