//! The recipe's types: a file for every section, and for top-level keys that are types; `[data]` is in
//! [`crate::data`]. Every field says its meaning, its unit and its special values.

mod backend;
mod checkpoint;
mod device;
mod eval;
mod faults;
mod log;
mod loss;
mod model;
mod optimizer;
mod precision;
mod pretrain;
mod restart;
mod ring_precision;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::DataSection;
use crate::json_file::ModelFolderError;
use crate::matmul::CpuMatmul;
use crate::memory_budget::MemoryBudget;
use crate::model_folder::ModelFolder;
use crate::pooling::Pooling;

pub use backend::Backend;
pub use checkpoint::CheckpointSection;
pub use device::DeviceChoice;
pub use eval::EvalSection;
pub use faults::{FaultsSection, OnFaults};
pub use log::LogSection;
pub use loss::{LossPreset, LossSection, Teacher};
pub use model::{ModelSection, Origin, Positions};
pub use optimizer::OptimizerSection;
pub use precision::Precision;
pub use pretrain::{DecoderQuery, PretrainSection, RandomWords};
pub use restart::RestartSection;
pub use ring_precision::RingPrecision;

/// One training run. Relative paths are relative to the working directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Names the run in logs and in its folder.
    pub name: String,
    /// Seeds everything that is random: plan, per-row choices, dropout, fresh weights.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Optimizer steps in all.
    #[serde(default)]
    pub steps: u64,
    /// What ranks compute on. A rank that is to compute on a GPU and cannot ends the run with the reason; it never
    /// takes the CPU instead.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Arithmetic of encoder, scores and loss.
    #[serde(default)]
    pub precision: Precision,
    /// On a GPU, only operations that give the same bits in every run: a run repeated or resumed on the same cards is
    /// bitwise the same. It costs 5 to 15 % of the backward pass through attention, which then adds without atomic
    /// operations. On a CPU every run is like that, whatever is said here.
    #[serde(default = "default_deterministic")]
    pub deterministic: bool,
    /// Which library multiplies float32 matrices on a CPU: "onednn", "blas" (MKL in libtorch's builds for x86-64), or
    /// "auto", which times both before the first step. They round differently; a resumed run keeps what it has found.
    #[serde(default)]
    pub cpu_matmul: CpuMatmul,
    /// What carries tensors between ranks.
    #[serde(default)]
    pub backend: Backend,
    /// Seconds that one NCCL operation may take before the rank gives up and ends the job. Longer than the slowest rank
    /// may lag: reading data, saving, sharing a GPU with others.
    #[serde(default = "default_backend_deadline_secs")]
    pub backend_deadline_secs: u64,
    /// In what type ranks give each other passages, whose vectors are most of what they send. "bf16" halves that, and
    /// changes the loss by less than an encoder in bfloat16 does (docs/know/exactness.md has figures).
    #[serde(default)]
    pub ring_precision: RingPrecision,
    /// What one rank may use of memory, e.g. "12GiB", or "auto": decides how many tokens go through the encoder at a
    /// time (`sub_batch_tokens` at most) and how many graphs are kept (in place of `kept_graph_tokens`), by trying the
    /// longest batch of the plan before the first step. Without it `sub_batch_tokens` holds as it is, and so does
    /// `kept_graph_tokens`; where that is missing too, only the number of graphs is found by trying, with a part of
    /// the free memory (`kept_graph_tokens` says which).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<MemoryBudget>,
    /// Tokens that one rank pushes through the encoder at a time; a longer text goes alone.
    #[serde(default = "default_sub_batch_tokens")]
    pub sub_batch_tokens: usize,
    /// Texts per sub-batch at most; 0 leaves it to `sub_batch_tokens`.
    #[serde(default)]
    pub sub_batch_texts: usize,
    /// Tokens per rank and step whose graphs are kept, so that they need no second forward pass; 0 keeps none.
    /// Without it as many as the memory holds that is free when the run begins: half of a CPU's, nine tenths of a
    /// GPU's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_graph_tokens: Option<usize>,
    /// Where checkpoints, metrics, logs and the resolved recipe go.
    #[serde(default)]
    pub run_dir: PathBuf,
    /// The encoder and its heads.
    #[serde(default)]
    pub model: ModelSection,
    /// The rows.
    #[serde(default)]
    pub data: DataSection,
    /// The objective.
    #[serde(default)]
    pub loss: LossSection,
    /// What pre-training hides, where the objective is that.
    #[serde(default)]
    pub pretrain: PretrainSection,
    /// AdamW and its schedule.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// When to save, and how much to keep.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    /// What the run is judged by while it lasts.
    #[serde(default)]
    pub eval: EvalSection,
    /// What to do about losses and gradients that are no numbers.
    #[serde(default)]
    pub faults: FaultsSection,
    /// What `tercet train` does about ranks that die or hang, and when it is asked to stop.
    #[serde(default)]
    pub restart: RestartSection,
    /// When to report.
    #[serde(default)]
    pub log: LogSection,
}

fn default_seed() -> u64 {
    42
}

fn default_deterministic() -> bool {
    true
}

fn default_backend_deadline_secs() -> u64 {
    600
}

fn default_sub_batch_tokens() -> usize {
    8192
}

impl Recipe {
    /// What pre-training hides; none with another objective.
    pub fn masks(&self) -> Option<&PretrainSection> {
        self.loss.preset.is_pretraining().then_some(&self.pretrain)
    }

    /// Whether checkpoints are taken before the last step.
    pub fn saves_under_way(&self) -> bool {
        self.checkpoint.every_steps > 0 || (!self.eval.data.is_empty() && self.eval.every_steps > 0)
    }

    /// Fills in the pooling, where the recipe leaves it to the model's folder. A folder that is gone, as it may be when
    /// a run goes on from its checkpoint, leaves it open.
    ///
    /// # Errors
    /// The folder cannot be read, or has a pooling that is not supported.
    pub fn resolve_pooling(&mut self) -> Result<(), ModelFolderError> {
        let section = &mut self.model;
        if section.pooling.is_none() {
            section.pooling = match &section.path {
                Some(dir) if !dir.exists() => None,
                Some(dir) => Some(ModelFolder::open(dir)?.pooling(None)?),
                None => Some(Pooling::Cls),
            };
        }
        Ok(())
    }
}
