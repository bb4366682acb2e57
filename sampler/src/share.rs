//! One rank's share of a step: what it computes with, and where that comes from.

use tercet_configs::Negatives;

use crate::{TextIds, TextInput};

/// What one rank trains on in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// What a record of the step tells of it.
    pub origin: Origin,
    /// What the step computes with.
    pub share: Share,
}

/// Where a batch comes from. No number that a step computes depends on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Passes over these rows before this one.
    pub epoch: u64,
    /// The name of the data set, or of the small ones merged.
    pub dataset: String,
    /// The length group's index in the data set's table.
    pub length_group: usize,
    /// Which rows these are, one for each query of this rank. `[Q]`
    pub row_ids: Vec<RowId>,
    /// The most loaded rank's estimated cost over the mean; 1 is perfect.
    pub imbalance: f64,
}

/// A row of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The data set's index in the store.
    pub dataset: usize,
    /// The row's number in it.
    pub row: u64,
}

/// One rank's part of a global batch. Q: this rank's queries, G: group size.
///
/// Rows of one text each, for pre-training, are queries without passages: G is 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Share {
    /// The optimizer step, from 0.
    pub step: u64,
    /// Q queries, then their Q·G passages; query i's positive is at Q + i·G, its negatives follow.
    pub texts: Vec<TextInput>,
    /// Which of them are the same.
    pub text_ids: TextIds,
    /// What random choices in a row's texts come from: a hash of (seed, step, data set's name, row's number in it).
    /// They depend neither on the rank nor on the sub-batch that has the row. `[Q]`
    pub row_keys: Vec<u64>,
    /// Q.
    pub num_queries: usize,
    /// G; 0 where rows are texts alone.
    pub group_size: usize,
    /// The number of queries on all ranks together.
    pub num_global_queries: usize,
    /// Teacher scores of the passages, if the data set has them. `[Q·G]`
    pub teacher_scores: Option<Vec<f32>>,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Also contrast each positive with all queries.
    pub two_way: bool,
}

impl Share {
    /// `[Q]`
    pub fn queries(&self) -> &[TextInput] {
        &self.texts[..self.num_queries]
    }

    /// `[Q·G]`
    pub fn passages(&self) -> &[TextInput] {
        &self.texts[self.num_queries..]
    }
}
