//! One row as it lies in the memory map.

use std::sync::Arc;

use super::check::row_check;
use super::columns::{Columns, TextLists};

/// A row's token ids, without special tokens: slices of the memory map, which stays open as long as a row of it lives.
#[derive(Debug, Clone)]
pub struct StoredRow {
    pub(super) columns: Arc<Columns>,
    pub(super) row: usize,
}

impl StoredRow {
    /// The query; or the text, where rows are texts alone.
    pub fn query(&self) -> &[u32] {
        self.columns.query.get(self.row)
    }

    /// The number of positives: at least 1, or 0 where rows are texts alone.
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

    /// The number of negatives.
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
        self.columns.pos_scores.get(self.row)?.get(i).copied()
    }

    /// The `i`-th negative's teacher score, if the row has them.
    pub fn neg_score(&self, i: usize) -> Option<f32> {
        self.columns.neg_scores.get(self.row)?.get(i).copied()
    }

    /// The checksum that the row has if it is what was written as row `number`.
    pub(super) fn check(&self, number: u64) -> u32 {
        let Columns { pos, neg, pos_scores, neg_scores, .. } = &*self.columns;
        let texts = |lists: &'_ TextLists| lists.range(self.row);
        let passages = [pos, neg].map(|lists| texts(lists).map(|i| lists.texts.get(i)));
        row_check(number, self.query(), passages, [pos_scores.get(self.row), neg_scores.get(self.row)])
    }

    fn text<'a>(&self, lists: &'a TextLists, i: usize) -> &'a [u32] {
        let range = lists.range(self.row);
        assert!(i < range.len(), "text {i} of {}", range.len());
        lists.texts.get(range.start + i)
    }
}
