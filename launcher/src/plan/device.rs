//! What the ranks of a planned run compute on, and what follows from it.

use serde::Serialize;
use tercet_sampler::GPU_PADDING;

/// What the ranks compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// Resident memory of a process.
    Cpu,
    /// Memory of a GPU.
    Cuda,
}

impl Device {
    /// Padding's largest share of a group of texts that go through the encoder together.
    pub fn max_padding(self) -> f64 {
        match self {
            Self::Cpu => 0.0,
            Self::Cuda => GPU_PADDING,
        }
    }
}
