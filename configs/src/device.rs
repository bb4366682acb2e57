//! What ranks compute on, and what follows from it.

use serde::{Deserialize, Serialize};

use crate::limits::GPU_PADDING;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// Processors; memory is a process's resident memory.
    Cpu,
    /// One GPU for each rank; memory is the GPU's.
    Cuda,
}

impl Device {
    /// Padding's largest share of a group of texts that go through the encoder together. A CPU attends text by text and
    /// pads nothing.
    pub fn max_padding(self) -> f64 {
        match self {
            Self::Cpu => 0.0,
            Self::Cuda => GPU_PADDING,
        }
    }
}
