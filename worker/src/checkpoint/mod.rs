//! Checkpoints. Each is a directory `step-00001200/` that is complete or absent.
//!
//! Training copies its state into a [`Snapshot`] and goes on; from a GPU the copy is made while the next step computes,
//! until that step's update. A thread ([`Background`]) writes it under another name, syncs it, the manifest of sizes
//! and checksums last, and renames it to its place. `model/` is a Hugging Face directory that other programs load;
//! `train/` holds what resuming needs besides the weights. Weights and optimizer state are stored by parameter name, so
//! that another world size can load them.

mod background;
mod download;
mod keep;
mod manifest;
mod moments;
mod read;
mod room;
mod snapshot;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_configs::ExitCode;

use crate::model::ModelError;
use crate::ops::matmul::Measured;

pub use background::Background;
pub use keep::Kept;
pub use read::{Resumed, has_checkpoints, load, newest_good, newest_recipe, num_checkpoints, reload};
pub use snapshot::Snapshot;
pub use write::{Complete, remove_interrupted, write};

/// The content of `train/state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainState {
    /// The progress of the run.
    #[serde(flatten)]
    pub progress: Progress,
    /// BLAKE3 of the resolved recipe.
    pub recipe_hash: String,
    /// The plan's fingerprint: equal plans give equal batches.
    pub plan_checksum: u64,
    /// The library that multiplies matrices, if it was measured: another library rounds differently. (Checkpoints from
    /// before there was a choice lack it.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_matmul: Option<Measured>,
}

/// The progress of a run. It is the same on every rank.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of steps done, those without an update included.
    pub step: u64,
    /// The number of these steps that made no update: their loss or gradient was not finite, or they were left out.
    /// (Checkpoints from before faults were survived lack it.)
    #[serde(default)]
    pub skipped: u64,
    /// Steps, from 1, whose batches the run leaves out because it rolled back from them.
    #[serde(default)]
    pub left_out: BTreeSet<u64>,
    /// The evaluation of this step follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evaluates: bool,
}

impl Progress {
    /// The number of updates that the optimizer has made.
    pub fn updates(&self) -> u64 {
        self.step.saturating_sub(self.skipped)
    }
}

/// Why a checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Writing failed, for example because the disk is full. Earlier checkpoints are untouched.
    #[error("writing checkpoint {}: {source}{}", path.display(), remedy(source))]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The update itself has made a weight that is no number, and nothing is to be gone on from.
    #[error(
        "checkpoint {} is not written: after step {step} {name} holds numbers that are not finite, though loss and gradient \
         were: the update has made them. Lower optimizer.learning_rate or raise optimizer.epsilon; the checkpoints before \
         it are intact", path.display()
    )]
    NotFinite {
        /// Where it would be.
        path: PathBuf,
        /// The number of steps done.
        step: u64,
        /// The first such weight.
        name: String,
    },
    /// The checkpoint is torn or altered, or the folder is not a checkpoint.
    #[error("checkpoint {}: {reason}", path.display())]
    Bad {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The model in it cannot be read or written.
    #[error("checkpoint {}: {source}", path.display())]
    Model {
        /// The checkpoint.
        path: PathBuf,
        /// The reason.
        #[source]
        source: ModelError,
    },
}

impl CheckpointError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Write { .. } => ExitCode::Machine,
            Self::Bad { .. } | Self::NotFinite { .. } => ExitCode::Data,
            Self::Model { source, .. } => source.exit_code(),
        }
    }
}

fn remedy(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "; the checkpoints before it are intact: free space (or lower checkpoint.keep) and resume"
        }
        _ => "",
    }
}

/// `step-00001200` in `run_dir`.
pub fn directory(run_dir: &Path, step: u64) -> PathBuf {
    run_dir.join(format!("step-{step:08}"))
}

/// The checkpoints of `run_dir` by step, ascending. Incomplete ones have other names. A file, or a folder with a name
/// that no checkpoint gets, does not count.
fn list(run_dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(run_dir).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            let path = entry.path();
            (path == directory(run_dir, step) && path.is_dir()).then_some((step, path))
        })
        .collect();
    found.sort();
    found
}
