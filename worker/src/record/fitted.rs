//! What a memory budget has led to.

/// What was found to fit into the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitted {
    /// The budget.
    pub budget_bytes: u64,
    /// Held before the first step.
    pub used_bytes: u64,
    /// Representations, scores, gradients of the longest batch.
    pub scoring_bytes: u64,
    /// One sub-batch, forward and backward.
    pub sub_batch_bytes: u64,
    /// Tokens of a sub-batch.
    pub sub_batch_tokens: usize,
    /// Tokens whose graphs are kept: the smallest rank's.
    pub kept_graph_tokens: usize,
}
