//! One row as it lies in the memory map.

use std::sync::Arc;

use super::columns::{Columns, TextLists};

/// A row's token ids, without special tokens: slices of the memory map, which stays open as long as a row of it lives.
#[derive(Debug, Clone)]
pub struct StoredRow {
    pub(super) columns: Arc<Columns>,
    pub(super) row: usize,
}

/// Token counts of a row's texts, without special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLengths {
    /// The query's tokens.
    pub query: usize,
    /// Tokens of each positive.
    pub pos: Vec<usize>,
    /// Tokens of each negative.
    pub neg: Vec<usize>,
}

impl StoredRow {
    /// The query.
    pub fn query(&self) -> &[u32] {
        self.columns.query.get(self.row)
    }

    /// How many positives there are; at least 1.
    pub fn num_pos(&self) -> usize {
        self.columns.pos.range(self.row).len()
    }

    /// The `i`-th positive.
    ///
    /// # Panics
    /// If `i` is not below [`num_pos`](Self::num_pos).
    pub fn pos(&self, i: usize) -> &[u32] {
        self.text(&self.columns.pos, i)
    }

    /// How many negatives there are.
    pub fn num_neg(&self) -> usize {
        self.columns.neg.range(self.row).len()
    }

    /// The `i`-th negative.
    ///
    /// # Panics
    /// If `i` is not below [`num_neg`](Self::num_neg).
    pub fn neg(&self, i: usize) -> &[u32] {
        self.text(&self.columns.neg, i)
    }

    /// The `i`-th positive's teacher score, if the row has them.
    pub fn pos_score(&self, i: usize) -> Option<f32> {
        self.columns.pos_scores.get(self.row, i)
    }

    /// The `i`-th negative's teacher score, if the row has them.
    pub fn neg_score(&self, i: usize) -> Option<f32> {
        self.columns.neg_scores.get(self.row, i)
    }

    /// The token counts alone; the tokens' pages are not touched.
    pub fn lengths(&self) -> RowLengths {
        let lengths = |lists: &TextLists| lists.range(self.row).map(|i| lists.texts.len_of(i)).collect();
        RowLengths {
            query: self.columns.query.len_of(self.row),
            pos: lengths(&self.columns.pos),
            neg: lengths(&self.columns.neg),
        }
    }

    fn text<'a>(&self, lists: &'a TextLists, i: usize) -> &'a [u32] {
        let range = lists.range(self.row);
        assert!(i < range.len(), "text {i} of {}", range.len());
        lists.texts.get(range.start + i)
    }
}
