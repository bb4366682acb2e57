//! What `tercet bench --json` prints: what ranks measured ([`super::bench`]), set against the rate of matrix products.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tercet_configs::Precision;

use super::{Phase, figure};

/// All that `tercet bench` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The recipe's name.
    pub recipe: String,
    /// Ranks.
    pub world_size: usize,
    /// Each rank's threads.
    pub threads: usize,
    /// The recipe's, or what was decided for it.
    pub precision: Precision,
    /// The model's.
    pub num_parameters: f64,
    /// A rank's best rate in a large matrix product, on its threads, in this precision, while all ranks do the same.
    pub peak_flops_per_sec: f64,
    /// The same by libtorch's `matmul`, which is not always the fastest way.
    pub libtorch_flops_per_sec: f64,
    /// The step whose rate of tokens is the median; of an even number the slower of the two in the middle.
    pub median: StepReport,
    /// In order.
    pub steps: Vec<StepReport>,
    /// The largest rank's.
    pub peak_rss_bytes: f64,
    /// The most that a rank's tensors took at once on its GPU; none on CPUs.
    pub device_peak_bytes: Option<f64>,
    /// What `tercet plan` expects of it, the program's own memory left out.
    pub planned_device_bytes: Option<f64>,
}

/// One timed step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// By the clock on the wall.
    pub step_secs: f64,
    /// All threads' seconds in a rank, the ranks' mean.
    pub cpu_secs: f64,
    /// Sums to `step_secs`.
    pub phase_secs: BTreeMap<String, f64>,
    /// All ranks' tokens.
    pub tokens: f64,
    /// All ranks' tokens per second.
    #[serde(deserialize_with = "figure")]
    pub tokens_per_sec: f64,
    /// All ranks' operations.
    pub model_flops: f64,
    /// The share of what all ranks' matrix products would have done in the time.
    #[serde(deserialize_with = "figure")]
    pub peak_share: f64,
}

impl StepReport {
    /// The seconds of these phases together; a phase that the step did not have takes none.
    pub fn secs_of(&self, phases: &[Phase]) -> f64 {
        phases.iter().map(|phase| self.phase_secs.get(phase.name()).copied().unwrap_or_default()).sum()
    }
}
