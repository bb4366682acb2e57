//! What a rank reports about itself and, on behalf of all ranks of its machine, about the machine.
//!
//! Facts travel as JSON, so that ranks of different builds can still report that they differ: a field that one of them
//! does not know has its default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tercet_configs::{Backend, Device, DeviceChoice};

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
    /// The versions of the libraries, by name; they must be equal on all ranks.
    pub versions: BTreeMap<String, String>,
    /// BLAKE3 of the files that must be equal on all ranks, by what they are; None for one that cannot be read.
    pub hashes: BTreeMap<String, Option<String>>,
    /// Its `CUDA_VISIBLE_DEVICES`, if it is set.
    pub visible_devices: Option<String>,
    /// What it is to compute on, and what driver and libtorch say of that; none of a rank that has not looked.
    pub device: Option<DeviceFacts>,
    /// Why the recipe cannot be used here.
    pub recipe_error: Option<String>,
    /// The seconds by which this machine's clock is ahead of rank 0's.
    pub clock_ahead_secs: f64,
    /// Its machine; only the first rank of a machine reports it.
    pub machine: Option<MachineFacts>,
    /// Its computing speed; only `doctor` measures it.
    pub product: Option<ProductFacts>,
}

/// What a rank is to compute on, what it can compute on, and who sees which GPUs from its process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceFacts {
    /// What the recipe or the command line asks for.
    pub asked: DeviceChoice,
    /// What the recipe asks to carry tensors.
    pub backend: Backend,
    /// What it computes on; none if it cannot compute on what it should.
    pub used: Option<Device>,
    /// The number of this job's ranks on its machine.
    pub num_local_ranks: usize,
    /// The machine has an NVIDIA driver.
    pub has_driver: bool,
    /// The driver's version, such as `535.161.08`, if its files tell.
    pub driver: Option<String>,
    /// The GPUs of the machine, by the driver's files.
    pub present_gpus: usize,
    /// Those of them that this process may open.
    pub open_gpus: usize,
    /// The newest CUDA that the driver's library speaks, 1000 × major + 10 × minor; none if the library is not found.
    pub driver_cuda: Option<u32>,
    /// The GPUs that the driver's library shows to this process; none if it has not been asked or has not answered.
    pub driver_gpus: Option<usize>,
    /// The CUDA that libtorch was built for, as above, 0 if it does not tell; none for a libtorch for the CPU alone.
    pub libtorch_cuda: Option<u32>,
    /// The GPUs that libtorch sees; 0 if it was not asked, because the CPU was chosen.
    pub libtorch_gpus: usize,
    /// What CUDA answers where libtorch, which keeps it to itself, sees no GPU.
    pub error: Option<CudaError>,
}

/// An error of CUDA's runtime or of its driver, which number the errors of a start alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CudaError {
    /// Its number.
    pub code: i32,
    /// Its name and CUDA's words for it.
    pub words: String,
}

/// The facts of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MachineFacts {
    /// The number of this job's ranks on it.
    pub num_ranks: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The C library's version.
    pub libc: String,
    /// The number of cores that its processes may use.
    pub num_cores: usize,
    /// The number of processes that want to run, averaged over the last minute.
    pub load: f64,
    /// The machine's memory.
    pub memory_bytes: u64,
    /// The free part of it, or of what the process's control group allows.
    pub available_bytes: u64,
    /// The control group's limit, if it is less than the machine's memory.
    pub memory_limit_bytes: Option<u64>,
    /// The size of /dev/shm, through which the ranks of a machine communicate.
    pub shm_bytes: u64,
    /// The free part of it.
    pub shm_free_bytes: u64,
    /// Those of its NVIDIA GPUs that this job's ranks may use.
    pub gpus: Vec<GpuFacts>,
    /// The number of GPUs that nvidia-smi lists, those of others included.
    pub listed_gpus: usize,
    /// Why its GPUs could not be queried.
    pub gpu_error: Option<String>,
    /// The cores' clock under load as a share of their highest; measured by `doctor`, if the kernel tells.
    pub clock_share: Option<f64>,
    /// The number of times that heat slowed cores while products were measured.
    pub num_throttled: Option<u64>,
    /// The run folder as seen from the machine; none without a recipe.
    pub folder: Option<FolderFacts>,
}

/// The facts of an NVIDIA GPU; None for what nvidia-smi does not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuFacts {
    /// Its number on the machine.
    pub index: u64,
    /// What CUDA_VISIBLE_DEVICES may name it by.
    pub uuid: String,
    /// The product's name.
    pub name: String,
    /// The driver's version.
    pub driver: String,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// The used part of it.
    pub used_bytes: Option<u64>,
    /// NVML's bits for the reasons of lowered clocks.
    pub throttle_reasons: Option<u64>,
    /// The number of uncorrected memory errors since the driver was loaded.
    pub uncorrected_errors: Option<u64>,
    /// Its temperature in degrees Celsius.
    pub temperature: Option<f64>,
    /// Its power limit in watts.
    pub power_limit: Option<f64>,
    /// The limit unless somebody sets another.
    pub default_power_limit: Option<f64>,
}

/// The run folder as seen from one machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderFacts {
    /// The run folder.
    pub path: PathBuf,
    /// Why nothing can be written to it.
    pub error: Option<String>,
    /// Whether trying again cannot help, because another folder or other permissions are needed.
    pub is_mistake: bool,
    /// Free space for this user.
    pub free_bytes: u64,
    /// The approximate size of one checkpoint; None if the model is not known.
    pub checkpoint_bytes: Option<u64>,
    /// The number of checkpoints that are yet to be made and kept, the one being written included.
    pub num_checkpoints: u64,
    /// The speed of writing a file that is synced at the end; measured by `doctor`.
    pub write_bytes_per_sec: Option<f64>,
    /// Whether a file that rank 0 wrote to it is visible.
    pub sees_rank_0: Option<bool>,
}

/// The speed of a rank's matrix products, measured on all ranks at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProductFacts {
    /// The best rate of many, by wall time.
    pub flops_per_sec: f64,
    /// The best rate by processor time; on a GPU as above.
    pub flops_per_cpu_sec: f64,
    /// A GPU computed them, which this rank has to itself.
    pub on_gpu: bool,
}

/// The speed of what the ranks do together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkFacts {
    /// The traffic of a rank in a large all-reduce.
    pub all_reduce_bytes_per_sec: f64,
    /// The links between neighbours of the ring, and between pairs of machines.
    pub links: Vec<LinkFacts>,
}

/// A connection of two ranks, each of which sends as much as it receives at the same time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkFacts {
    /// The rank of one end.
    pub from: usize,
    /// That of the other end.
    pub to: usize,
    /// The machine of one end.
    pub from_host: String,
    /// That of the other end.
    pub to_host: String,
    /// The speed in each direction.
    pub bytes_per_sec: f64,
}
