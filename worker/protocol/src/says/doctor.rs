//! What `doctor` prints; what a rank reports of itself and, for all ranks of its machine, of that.
//!
//! Facts travel as JSON, so that ranks of different builds can still say that they are different: what one of them does
//! not know is left at its default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All that was found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Ranks.
    pub world_size: usize,
    /// The worst of the findings.
    pub verdict: Level,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// In order.
    pub ranks: Vec<RankFacts>,
    /// What connects them.
    pub network: NetworkFacts,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing.
    Ok,
    /// A run works, but not as well as it could.
    Warning,
    /// What was asked for is wrong on all machines alike.
    Mistake,
    /// A machine must not take part as it is.
    Sick,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The machine; empty if it is all of them.
    pub host: String,
    /// What it is, with numbers, and what to do.
    pub text: String,
}

impl Finding {
    /// On a machine, or with an empty name on all of them.
    pub fn new(level: Level, host: &str, text: impl Into<String>) -> Self {
        Self { level, host: host.to_owned(), text: text.into() }
    }
}

/// One rank.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RankFacts {
    /// The rank, from 0.
    pub rank: usize,
    /// Its machine's name.
    pub host: String,
    /// Of the libraries, by name; they must be equal on all ranks.
    pub versions: BTreeMap<String, String>,
    /// BLAKE3 of what must be equal on all ranks, by what it is; None where it cannot be read.
    pub hashes: BTreeMap<String, Option<String>>,
    /// Its `CUDA_VISIBLE_DEVICES`, where it is set.
    pub visible_devices: Option<String>,
    /// Why the recipe cannot be used here.
    pub recipe_error: Option<String>,
    /// By how much this machine's clock is ahead of rank 0's.
    pub clock_ahead_secs: f64,
    /// Its machine; reported by the first rank of each.
    pub machine: Option<MachineFacts>,
    /// How fast it computes; measured by `doctor` only.
    pub product: Option<ProductFacts>,
}

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineFacts {
    /// Ranks of this job on it.
    pub num_ranks: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Version of the C library.
    pub libc: String,
    /// Cores that a process may use.
    pub num_cores: usize,
    /// Processes that want to run, over the last minute.
    pub load: f64,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// What of it, or of the process's control group, is left.
    pub available_bytes: u64,
    /// What the control group allows, if less than the machine has.
    pub memory_limit_bytes: Option<u64>,
    /// Size of /dev/shm, through which ranks of a machine talk.
    pub shm_bytes: u64,
    /// What is left of it.
    pub shm_free_bytes: u64,
    /// Its NVIDIA GPUs.
    pub gpus: Vec<GpuFacts>,
    /// Why its GPUs could not be asked.
    pub gpu_error: Option<String>,
    /// The cores' clock under load as a share of their highest; measured by `doctor`, where the kernel tells.
    pub clock_share: Option<f64>,
    /// How often cores were slowed by heat while products were measured.
    pub num_throttled: Option<u64>,
    /// The run folder as seen from it; none without a recipe.
    pub folder: Option<FolderFacts>,
}

/// An NVIDIA GPU; None is what nvidia-smi does not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuFacts {
    /// Its number on the machine.
    pub index: u64,
    /// The product's name.
    pub name: String,
    /// The driver's version.
    pub driver: String,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// What of it is in use.
    pub used_bytes: Option<u64>,
    /// NVML's bits of reasons why clocks are lowered.
    pub throttle_reasons: Option<u64>,
    /// Memory errors since the driver was loaded that could not be corrected.
    pub uncorrected_errors: Option<u64>,
    /// In degrees Celsius.
    pub temperature: Option<f64>,
    /// In watts.
    pub power_limit: Option<f64>,
    /// What the limit is unless somebody sets it.
    pub default_power_limit: Option<f64>,
}

/// The run folder as seen from one machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderFacts {
    /// The run folder.
    pub path: PathBuf,
    /// Why nothing can be written there.
    pub error: Option<String>,
    /// Trying again does not help: another folder is needed, or other rights.
    pub is_mistake: bool,
    /// Free space for this user.
    pub free_bytes: u64,
    /// About what one checkpoint takes; None if the model is not known.
    pub checkpoint_bytes: Option<u64>,
    /// Checkpoints that are still to be made and kept, the one being written included.
    pub num_checkpoints: u64,
    /// To a file that is synced at the end; measured by `doctor`.
    pub write_bytes_per_sec: Option<f64>,
    /// Whether a file that rank 0 wrote there is seen.
    pub sees_rank_0: Option<bool>,
}

/// A rank's matrix products, measured on all ranks at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProductFacts {
    /// The best of many, by the clock on the wall.
    pub flops_per_sec: f64,
    /// The best rate per second that processors really gave; on a GPU as above.
    pub flops_per_cpu_sec: f64,
    /// A GPU computed them, which this rank has to itself.
    pub on_gpu: bool,
}

/// What the ranks do together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkFacts {
    /// A rank's traffic in a large all-reduce.
    pub all_reduce_bytes_per_sec: f64,
    /// Neighbours of the ring, and pairs of machines.
    pub links: Vec<LinkFacts>,
}

/// A connection of two ranks, each sending as much as it receives at the same time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkFacts {
    /// One end's rank.
    pub from: usize,
    /// The other's.
    pub to: usize,
    /// One end's machine.
    pub from_host: String,
    /// The other's.
    pub to_host: String,
    /// In each direction.
    pub bytes_per_sec: f64,
}
