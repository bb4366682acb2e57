//! The recipe's types; `[data]` has a file of its own. Every field says its meaning, its unit and its special values.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::DataSection;
use crate::json_file::ModelFolderError;
use crate::matmul::CpuMatmul;
use crate::memory_budget::MemoryBudget;
use crate::model_folder::ModelFolder;

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
    /// Arithmetic of encoder, scores and loss.
    #[serde(default)]
    pub precision: Precision,
    /// Which library multiplies float32 matrices on a CPU: "onednn", "blas" (MKL in libtorch's builds for x86-64), or "auto",
    /// which times both before the first step. They round differently; a resumed run keeps what it has found.
    #[serde(default)]
    pub cpu_matmul: CpuMatmul,
    /// What carries tensors between ranks.
    #[serde(default)]
    pub backend: Backend,
    /// Seconds that one NCCL operation may take before the rank gives up and ends the job. Longer than the slowest rank
    /// may lag: reading data, saving, sharing a GPU with others.
    #[serde(default = "default_backend_deadline_secs")]
    pub backend_deadline_secs: u64,
    /// What one rank may use of memory, e.g. "12GiB", or "auto": decides how many tokens go through the encoder at a time
    /// (`sub_batch_tokens` at most) and how many graphs are kept (in place of `kept_graph_tokens`), by trying the longest
    /// batch of the plan before the first step. Without it `sub_batch_tokens` holds as it is, and so does `kept_graph_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<MemoryBudget>,
    /// Padded tokens that one rank pushes through the encoder at a time; a longer text goes alone.
    #[serde(default = "default_sub_batch_tokens")]
    pub sub_batch_tokens: usize,
    /// Texts per sub-batch at most; 0 leaves it to `sub_batch_tokens`.
    #[serde(default)]
    pub sub_batch_texts: usize,
    /// Padded tokens per rank and step whose graphs are kept, so that they need no second forward pass; 0 keeps none. Without
    /// it, on a CPU, as many as half of the memory holds that is free when the run begins; on a GPU none.
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
    /// AdamW and its schedule.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// When to save, and how much to keep.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
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

/// Arithmetic of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// The encoder computes in bfloat16; weights, gradients' sums, optimizer state, representations, scores and loss are
    /// 32-bit floats.
    Bf16,
    /// 64-bit floats; for tests, on the CPU.
    Fp64,
}

impl TryFrom<String> for Precision {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            "fp64" => Ok(Self::Fp64),
            "fp16" => Err("precision \"fp16\" is not supported: at a temperature of 0.02 scores reach 50 and their \
                           gradients leave fp16's range, so it would need loss scaling; use \"bf16\", which is as fast"
                .into()),
            _ => Err(format!("precision {name:?} is unknown: fp32, bf16 or fp64 is expected")),
        }
    }
}

/// What carries tensors between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `solo` for a single rank; for several `nccl` where all of them compute on GPUs, `mpi` otherwise.
    #[default]
    Auto,
    /// NCCL over the memory of one GPU per rank; MPI brings the ranks together.
    Nccl,
    /// MPI over host memory.
    Mpi,
    /// One rank, no communication.
    Solo,
}

/// `[model]`: where the encoder comes from and how texts become representations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// A Hugging Face directory (config.json, model.safetensors, optionally the two heads' .pt files).
    pub path: Option<PathBuf>,
    /// A config.json to start from fresh weights instead of `path`.
    pub config: Option<PathBuf>,
    /// tokenizer.json; empty: the one beside the model or its config.
    pub tokenizer: Option<PathBuf>,
    /// How the dense head reads a text; left out: as the model's folder says, else CLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Dense and multi-vector representations are scaled to length 1.
    pub normalize: bool,
    /// Positions the encoder shall have (8194 for 8192 tokens); 0 keeps the model's. Only ever extends.
    pub max_position_embeddings: usize,
    /// Width of the multi-vector head; 0: the hidden size.
    pub multi_vector_dim: usize,
    /// Replaces both dropout probabilities of config.json.
    pub dropout: Option<f64>,
}

/// How the dense head reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The first token's hidden state.
    #[default]
    Cls,
    /// The mean over the text's tokens.
    Mean,
}

impl Pooling {
    /// As recipes name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
        }
    }
}

/// `[loss]`: the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossSection {
    /// Which heads train, and how their losses add up.
    pub preset: LossPreset,
    /// Every score is divided by it.
    pub temperature: f64,
    /// Self-distillation from the hybrid score (presets `unified` and `paper-v1`).
    pub distill: bool,
    /// Optimizer steps without self-distillation first: the warm-up of the heads.
    pub distill_start_step: u64,
    /// What teacher scores given with the rows do.
    pub teacher: Teacher,
    /// Leaves out of a query's negatives what is known to answer it: the positives of every row of the global batch that
    /// has the same query. The published trainer counts them as negatives.
    pub mask_false_negatives: bool,
}

/// Which heads train, and how their losses add up (docs/know/loss.md has the formulas).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossPreset {
    /// The authors' code and the paper's later version.
    #[default]
    Unified,
    /// The paper's first version.
    PaperV1,
    /// `unified` without distillation.
    Independent,
    /// The dense head alone.
    Dense,
}

/// What teacher scores given with the rows do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Teacher {
    /// They are ignored.
    #[default]
    None,
    /// Cross-entropy to the softmax of the teacher's scores over the query's own group, added to InfoNCE.
    KlDiv,
    /// Teacher-weighted InfoNCE over the group's passages in turn, in place of InfoNCE.
    M3KdLoss,
}

/// `[optimizer]`: AdamW with linear warm-up and linear decay to zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSection {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Share of `steps` during which the rate rises from 0.
    pub warmup_ratio: f64,
    /// Decoupled weight decay; biases and layer norms have none.
    pub weight_decay: f64,
    /// Decay of the gradient's running mean.
    pub beta1: f64,
    /// Decay of the squared gradient's running mean.
    pub beta2: f64,
    /// Added to the root of the squared gradient's mean.
    pub epsilon: f64,
    /// The gradient's global norm is scaled down to this; 0 leaves it.
    pub max_grad_norm: f64,
    /// The rate falls linearly to 0 at `steps` after the warm-up; false keeps it constant.
    pub linear_decay: bool,
    /// Each rank keeps the running means of its part of the weights only (ZeRO-1), which saves memory and computes the
    /// same numbers to the bit; the gradient's sums and the weights travel instead of the gradient's sums twice.
    pub shard_state: bool,
}

/// `[checkpoint]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Optimizer steps between checkpoints; 0: only after the last step.
    pub every_steps: u64,
    /// Newest checkpoints that are kept; 0 keeps all.
    pub keep: usize,
}

/// `[faults]`: a step whose loss or gradient is not finite never updates the weights; this says what follows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsSection {
    /// Steps in a row that may be skipped; with the last of them `then` happens. At least 1, which acts at the first.
    pub max_in_a_row: u64,
    /// What happens then.
    pub then: OnFaults,
    /// A gradient norm this many times the median of the steps before is logged as a spike and counted; 0 looks for none.
    pub grad_norm_spike: f64,
}

/// What a run does when too many steps in a row had a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFaults {
    /// It ends with exit code 4.
    #[default]
    Stop,
    /// It goes on from its newest good checkpoint and leaves the batches of those steps out. Without a checkpoint, or if
    /// that did not help, it ends as above.
    RollBack,
}

/// `[restart]`: what `tercet train` does about ranks that die or hang, and when it is asked to stop. None of it changes what
/// is computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSection {
    /// Restarts in a row without a new checkpoint in between; 0 never restarts.
    pub limit: u32,
    /// Seconds before a restart; with each one in a row twice as long, up to five minutes.
    pub backoff_secs: f64,
    /// Ranks that the run may go on with when machines are lost, the global batches being the same; 0: no fewer than it
    /// has.
    pub min_world: usize,
    /// Seconds without a finished step after which the run hangs, and without a sign of life after which a rank is lost.
    /// 0: 20 times the slowest of the last steps and at least 60, and 15 for signs of life. Before the first step and
    /// while a checkpoint is waited for a hang is ten times as long.
    pub hang_secs: f64,
    /// Seconds that the ranks may take, when asked to stop, to finish their step and to write a checkpoint.
    pub stop_secs: f64,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// Optimizer steps between plain log lines.
    pub every_steps: u64,
    /// Also writes each rank's rows, tokens and memory of every step to ranks.jsonl.
    pub per_rank: bool,
}

fn default_seed() -> u64 {
    42
}

fn default_backend_deadline_secs() -> u64 {
    600
}

fn default_sub_batch_tokens() -> usize {
    8192
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            path: None,
            config: None,
            tokenizer: None,
            pooling: None,
            normalize: true,
            max_position_embeddings: 0,
            multi_vector_dim: 0,
            dropout: None,
        }
    }
}

impl Recipe {
    /// Fills in the pooling, where the recipe leaves it to the model's folder. A folder that is gone, as it may be when a run
    /// goes on from its checkpoint, leaves it open.
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

impl ModelSection {
    /// The model's config.json; none where it is not told, or the folder cannot be read: what is wrong is told by who loads
    /// the model.
    pub fn config_json(&self) -> Option<PathBuf> {
        match &self.path {
            Some(dir) => Some(ModelFolder::open(dir).ok()?.transformer.join("config.json")),
            None => self.config.clone(),
        }
    }

    /// The model's tokenizer.json: the one named, or the one beside the weights or the config.
    pub fn tokenizer_json(&self) -> Option<PathBuf> {
        let beside = || match (&self.path, &self.config) {
            // What is wrong with the folder is told by who loads the model.
            (Some(dir), _) => Some(
                ModelFolder::open(dir)
                    .ok()
                    .and_then(|folder| folder.file("tokenizer.json"))
                    .unwrap_or_else(|| dir.join("tokenizer.json")),
            ),
            (None, Some(config)) => Some(config.with_file_name("tokenizer.json")),
            (None, None) => None,
        };
        self.tokenizer.clone().or_else(beside)
    }
}

impl Default for LossSection {
    fn default() -> Self {
        Self {
            preset: LossPreset::Unified,
            temperature: 0.02,
            distill: true,
            distill_start_step: 0,
            teacher: Teacher::None,
            mask_false_negatives: true,
        }
    }
}

impl Default for OptimizerSection {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_grad_norm: 1.0,
            linear_decay: true,
            shard_state: false,
        }
    }
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self { every_steps: 1000, keep: 3 }
    }
}

impl Default for FaultsSection {
    fn default() -> Self {
        Self { max_in_a_row: 3, then: OnFaults::Stop, grad_norm_spike: 10.0 }
    }
}

impl Default for RestartSection {
    fn default() -> Self {
        Self { limit: 3, backoff_secs: 5.0, min_world: 0, hang_secs: 0.0, stop_secs: 120.0 }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self { every_steps: 10, per_rank: false }
    }
}
