//! `[checkpoint]`: when to save, and how much to keep.

use serde::{Deserialize, Serialize};

/// `[checkpoint]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Optimizer steps between checkpoints; 0: only after the last step.
    pub every_steps: u64,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep: usize,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every_steps: 1000, keep: 3 }
    }
}
