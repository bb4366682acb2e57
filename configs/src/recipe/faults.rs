//! `[faults]`: losses and gradients that are no numbers.

use serde::{Deserialize, Serialize};

/// `[faults]`: a step whose loss or gradient is not finite never updates the weights; this says what follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsSection {
    /// Steps in a row that may be skipped; with the last of them `then` happens. At least 1, which acts at the first.
    pub max_in_a_row: u64,
    /// What happens then.
    pub then: OnFaults,
    /// A gradient norm this many times the median of the steps before is logged as a spike and counted; 0 looks for
    /// none.
    pub grad_norm_spike: f64,
}

/// What a run does when too many steps in a row had a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFaults {
    /// It ends with exit code 4.
    #[default]
    Stop,
    /// It goes on from its newest good checkpoint and leaves the batches of those steps out. Without a checkpoint, or
    /// if that did not help, it ends as above.
    RollBack,
}

impl Default for FaultsSection {
    fn default() -> Self {
        Self { max_in_a_row: 3, then: OnFaults::Stop, grad_norm_spike: 10.0 }
    }
}
