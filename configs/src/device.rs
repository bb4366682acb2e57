//! What ranks compute on.

use serde::{Deserialize, Serialize};

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// Processors; memory is a process's resident memory.
    Cpu,
    /// One GPU for each rank; memory is the GPU's.
    Cuda,
}
