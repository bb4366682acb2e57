//! The settings of attention, and what is asked of it, for every implementation.

use tch::Tensor;

use super::texts::TextRows;
use crate::ops::dropout::Dropout;

/// The settings of attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// h.
    pub num_heads: i64,
    /// Dropout of probabilities.
    pub dropout: Dropout,
}

/// Rows that ask and tokens that answer, text by text.
///
/// Legend: R rows, T tokens, h heads, k head size.
pub(super) struct Asked<'a> {
    /// Queries [R, h, k], keys and values [T, h, k], with their bias; views.
    pub parts: [Tensor; 3],
    /// Which rows are each text's, among the R.
    pub asks: &'a TextRows,
    /// Which tokens are each text's, among the T.
    pub answers: &'a TextRows,
}

impl Asked<'_> {
    pub fn starts(&self) -> [&Tensor; 2] {
        [self.asks.starts(), self.answers.starts()]
    }

    pub fn num_texts(&self) -> usize {
        self.asks.spans().len()
    }

    /// The most rows and the most tokens of a text.
    pub fn longest(&self) -> [i64; 2] {
        [self.asks.longest() as i64, self.answers.longest() as i64]
    }
}

/// The factor of similarities: one over the root of the head size, the last of `query`'s dimensions.
pub(super) fn scale(query: &Tensor) -> f64 {
    (query.size()[query.dim() - 1] as f64).powf(-0.5)
}
