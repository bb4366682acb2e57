//! What `probe` prints.

use serde::{Deserialize, Serialize};
use tercet_configs::{Device, Precision};

/// What libtorch makes of the rank's device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The GPUs that libtorch sees.
    pub num_gpus: usize,
    /// What the figures are of.
    pub device: String,
    /// The GPU's free memory, as the driver says; None on a CPU.
    pub free_bytes: Option<u64>,
    /// One for each precision, length, and with and without dropout.
    pub attention: Vec<Attention>,
}

/// Attention of texts of nearly one length, forward and backward, as a layer calls it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// The precision of queries, keys and values.
    pub precision: Precision,
    /// Texts.
    pub texts: usize,
    /// Tokens of the longest; the others have a token less.
    pub len: usize,
    /// The share of probabilities that is dropped.
    pub dropout: f64,
    /// What attended: libtorch's `flash`, `own`, or, where neither serves, the slow `reference`.
    pub kernel: String,
    /// The first call's seconds: a kernel may prepare itself for each new shape.
    pub first_secs: f64,
    /// The least seconds of the calls after it.
    pub secs: f64,
    /// Its matrix products, forward and backward, over `secs`.
    pub flops_per_sec: f64,
}

impl Report {
    /// `device` as the report names it.
    pub fn name_of(device: Device) -> String {
        match device {
            Device::Cpu => "cpu".into(),
            Device::Cuda => "cuda".into(),
        }
    }
}
