//! Reads checkpoints: verifies everything, then loads.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::manifest::{Flaw, Manifest};
use crate::checkpoint::{CheckpointError, TrainState, list};
use crate::model::{M3Model, ModelOptions};
use crate::step::update::AdamW;

/// The state of a run after a step.
pub struct Resumed {
    /// The weights.
    pub model: M3Model,
    /// The optimizer's state.
    pub optimizer: AdamW,
    /// The run's progress and what it was made with.
    pub state: TrainState,
}

/// Whether `run_dir` holds any checkpoint, good or bad.
pub fn has_checkpoints(run_dir: &Path) -> bool {
    !list(run_dir).is_empty()
}

/// The number of checkpoints in `run_dir`, good or bad.
pub fn num_checkpoints(run_dir: &Path) -> u64 {
    list(run_dir).len() as u64
}

/// The newest checkpoint of `run_dir` that passes every check, and why each newer one did not.
pub fn newest_good(run_dir: &Path) -> (Option<PathBuf>, Vec<CheckpointError>) {
    let mut refused = Vec::new();
    for (_, path) in list(run_dir).into_iter().rev() {
        match Manifest::check(&path) {
            Ok(()) => return (Some(path), refused),
            Err(Flaw { reason, .. }) => refused.push(CheckpointError::Bad { path, reason }),
        }
    }
    (None, refused)
}

/// Loads a checkpoint that [`newest_good`] found.
///
/// # Errors
/// A file cannot be read, or lacks what it should hold.
pub fn load(path: &Path, options: &ModelOptions, device: Device, kind: Kind) -> Result<Resumed, CheckpointError> {
    let bad = |reason: String| CheckpointError::Bad { path: path.to_owned(), reason };
    let state = fs::read_to_string(path.join("train/state.json")).map_err(|e| bad(format!("train/state.json: {e}")))?;
    let state: TrainState = serde_json::from_str(&state).map_err(|e| bad(format!("train/state.json: {e}")))?;
    // The checkpoint has its own copy of the tokenizer.
    let options = ModelOptions { tokenizer: None, ..options.clone() };
    let model = M3Model::load(&path.join("model"), &options, device, kind)
        .map_err(|source| CheckpointError::Model { path: path.to_owned(), source })?;
    let tensors = Tensor::read_safetensors(path.join("train/optimizer.safetensors"))
        .map_err(|e| bad(format!("train/optimizer.safetensors: {e}")))?;
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let mut optimizer = AdamW::new(&model.parameters);
    optimizer.updates = state.progress.updates();
    for (moment, flat) in [("mean", &optimizer.mean), ("square", &optimizer.square)] {
        for (name, mut view) in model.parameters.named_views(flat) {
            let found = tensors.get(&format!("{moment}.{name}")).filter(|t| t.size() == view.size());
            let found =
                found.ok_or_else(|| bad(format!("train/optimizer.safetensors: {moment}.{name} does not fit")))?;
            tch::no_grad(|| view.copy_(found));
        }
    }
    Ok(Resumed { model, optimizer, state })
}
