//! What `tercet plan` is asked.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use tercet_configs::GpuKind;
use tercet_protocol::args::RecipeArgs;

use super::inputs::rate;

/// More ranks than any cluster has: each has figures of its own.
const MOST_RANKS: usize = 100_000;

fn ranks(text: &str) -> Result<NonZeroUsize, String> {
    let ranks = text.parse().ok().filter(|ranks: &NonZeroUsize| ranks.get() <= MOST_RANKS);
    ranks.ok_or_else(|| format!("{text:?} is no number from 1 to {MOST_RANKS}"))
}

/// `tercet plan`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("speed").args(["flops", "gpu", "measured"]).multiple(true)))]
pub struct Plan {
    /// Whose run.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Number of ranks of the run; default: as many as `tercet train` would start here
    #[arg(long, value_name = "RANKS", value_parser = ranks)]
    pub world: Option<NonZeroUsize>,
    /// A config.json instead of the recipe's model, for a model that is not here yet
    #[arg(long, value_name = "FILE")]
    pub model_config: Option<PathBuf>,
    /// The memory to estimate; default: the recipe's device, or cuda if this machine has an NVIDIA GPU
    #[arg(long, value_enum, conflicts_with_all = ["gpu", "measured"])]
    pub device: Option<Device>,
    /// A kind of GPU: its memory, and times from its data sheet; a100-40, a100-80, a800-80, h100 or h200
    #[arg(long, value_name = "CARD", conflicts_with = "flops")]
    pub gpu: Option<GpuKind>,
    /// What `make test-gpu` measured on such a GPU (its report.json), in place of assumed rates
    #[arg(long, value_name = "FILE", conflicts_with = "flops")]
    pub measured: Option<PathBuf>,
    /// GPUs of one machine, which reach each other without the network
    #[arg(long, value_name = "GPUS", default_value = "8")]
    pub gpus_per_node: NonZeroUsize,
    /// Floating-point operations per second that a rank achieves in the encoder, e.g. 120e12
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub flops: Option<f64>,
    /// Bytes per second that a rank sends, e.g. 20e9; default with --gpu: what cards and network adapters like NVIDIA's
    /// do
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "speed")]
    pub bandwidth: Option<f64>,
    /// Measure these rates here, with the recipe's model on as many ranks
    #[arg(long, conflicts_with_all = ["flops", "gpu", "measured"])]
    pub measure: bool,
    /// Ranks to measure with, where this machine is not the one that will train
    #[arg(long, value_name = "RANKS", requires = "measure")]
    pub measure_ranks: Option<NonZeroUsize>,
    /// Also write everything as JSON; - writes it to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Also draw tokens, time and memory
    #[arg(long, value_name = "FILE.svg")]
    pub picture: Option<PathBuf>,
}

/// What a plan is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// Resident memory of a process.
    Cpu,
    /// Memory of a GPU.
    Cuda,
}
