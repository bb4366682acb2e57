//! Why the memory does not hold a step, and what the recipe can say against it.

use tercet_configs::ExitCode;

/// A step does not fit into the memory.
#[derive(Debug, thiserror::Error)]
pub enum DoesNotFit {
    /// The budget cannot hold one step.
    #[error(
        "memory_budget: {budget_bytes} bytes are too few: the run holds {used_bytes} (weights, gradient, optimizer, \
         program), the longest batch's representations and scores take {scoring_bytes} and its longest text {text_bytes}: \
         give at least {} bytes, lower the batch of the longest length group, or use more ranks",
        ((used_bytes + scoring_bytes + text_bytes) as f64 / (1.0 - slack)).ceil()
    )]
    Budget {
        /// The budget.
        budget_bytes: u64,
        /// Held before the first step.
        used_bytes: u64,
        /// Representations, scores, gradients of the longest batch.
        scoring_bytes: u64,
        /// One text, forward and backward; where it did not fit at all, what was left for it, and it needs more.
        text_bytes: u64,
        /// The part of the budget that stays free.
        slack: f64,
    },
    /// A GPU's memory does not suffice to score the longest batch that the plan can give.
    #[error(
        "the memory left to a GPU, {} MiB, is too little to score the longest batch: representations of {num_queries} \
         queries and {num_passages} passages of up to {max_len} tokens on each rank, their scores, and the gradients of \
         both: lower global_batch ({global_batch}) of the length group up to {up_to} tokens, group_size or \
         passage_max_len in [data], or use more ranks; without memory_budget, kept_graph_tokens = 0 trains without trying \
         this batch, which the data may never have",
        free_bytes >> 20
    )]
    Scoring {
        /// The memory that was left.
        free_bytes: u64,
        /// A rank's queries.
        num_queries: usize,
        /// A rank's passages.
        num_passages: usize,
        /// The tokens of the batch's longest text.
        max_len: usize,
        /// The rows of all ranks.
        global_batch: usize,
        /// The largest number of tokens in the batch's length group.
        up_to: usize,
    },
}

impl DoesNotFit {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}
