//! `device`: what ranks are to compute on.

use serde::{Deserialize, Serialize};

/// What ranks are to compute on; [`Device`](crate::Device) is what one of them does compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// GPUs wherever the machine has an NVIDIA driver, which `CUDA_VISIBLE_DEVICES` may hide (empty or -1); else the
    /// CPU.
    #[default]
    Auto,
    /// One NVIDIA GPU for each rank.
    Cuda,
    /// Processors, also where there are GPUs.
    Cpu,
}

impl DeviceChoice {
    /// As recipes and reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cuda => "cuda",
            Self::Cpu => "cpu",
        }
    }
}
