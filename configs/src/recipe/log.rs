//! `[log]`: when to report.

use serde::{Deserialize, Serialize};

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Optimizer steps between plain log lines.
    pub every_steps: u64,
    /// Also writes each rank's rows, tokens and memory of every step to ranks.jsonl.
    pub per_rank: bool,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { every_steps: 10, per_rank: false }
    }
}
