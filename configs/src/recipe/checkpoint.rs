//! `[checkpoint]`: when to save, and how much to keep.

use serde::{Deserialize, Serialize};

/// `[checkpoint]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Optimizer steps between checkpoints; 0: only after the last step.
    pub every_steps: u64,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep: usize,
    /// The figure of `[eval]` whose best checkpoint stays as well, beside the newest: "DATA SET/RANKING/METRIC", such
    /// as "mean/dense/ndcg@10" ("mean": over all data sets). Left out: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<String>,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every_steps: 1000, keep: 3, keep_best: None }
    }
}
