//! `[restart]`: ranks that die or hang, and how a run stops.

use serde::{Deserialize, Serialize};

/// `[restart]`: what `tercet train` does about ranks that die or hang, and when it is asked to stop. None of it changes
/// what is computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSection {
    /// Restarts in a row without a new checkpoint in between; 0 never restarts.
    pub limit: u32,
    /// Seconds before a restart; with each one in a row twice as long, up to five minutes.
    pub backoff_secs: f64,
    /// Ranks that the run may go on with when machines are lost, the global batches being the same; 0: no fewer than it
    /// has.
    pub min_world: usize,
    /// Seconds without a finished step after which the run hangs, and without a sign of life after which a rank is
    /// lost. 0: 20 times the slowest of the last steps and at least 60, and 15 for signs of life. Before the first step
    /// and while a checkpoint is waited for a hang is ten times as long; an evaluation has time as long as it moves.
    pub hang_secs: f64,
    /// Seconds that the ranks may take, when asked to stop, to finish their step and to write a checkpoint.
    pub stop_secs: f64,
}

impl Default for RestartSection {
    fn default() -> Self {
        Self { limit: 3, backoff_secs: 5.0, min_world: 0, hang_secs: 0.0, stop_secs: 120.0 }
    }
}
