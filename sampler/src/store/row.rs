//! One row as it lies in the memory-mapped shard.

/// Token ids of a row's texts, without special tokens, straight from the memory map.
#[derive(Debug, Clone)]
pub struct StoredRow {}

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
        unimplemented!()
    }
    /// How many positives there are; at least 1.
    pub fn num_pos(&self) -> usize {
        unimplemented!()
    }
    /// The `i`-th positive.
    pub fn pos(&self, _i: usize) -> &[u32] {
        unimplemented!()
    }
    /// How many negatives there are.
    pub fn num_neg(&self) -> usize {
        unimplemented!()
    }
    /// The `i`-th negative.
    pub fn neg(&self, _i: usize) -> &[u32] {
        unimplemented!()
    }
    /// The `i`-th positive's teacher score, if the row has them.
    pub fn pos_score(&self, _i: usize) -> Option<f32> {
        unimplemented!()
    }
    /// The `i`-th negative's teacher score, if the row has them.
    pub fn neg_score(&self, _i: usize) -> Option<f32> {
        unimplemented!()
    }
}
