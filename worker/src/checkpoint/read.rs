//! Reads checkpoints: verifies everything, then loads.

use std::fs;
use std::path::{Path, PathBuf};

use tch::{Device, Kind};
use tercet_configs::Recipe;

use super::manifest::{Flaw, Manifest};
use super::moments::Moments;
use crate::checkpoint::{CheckpointError, TrainState, list};
use crate::model::{M3Model, ModelOptions, Parameters};
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

/// The recipe of the newest checkpoint of `run_dir` that has a readable one, whether or not the rest is good.
pub fn newest_recipe(run_dir: &Path) -> Option<Recipe> {
    let recipe = |(_, path): (u64, PathBuf)| Recipe::load(&path.join("train/recipe.toml"), &[]).ok();
    list(run_dir).into_iter().rev().find_map(recipe)
}

/// Loads a checkpoint that [`newest_good`] found. `optimizer` makes the state that it is read into: of a sharded one
/// the rank's parts are taken.
///
/// # Errors
/// A file cannot be read, or lacks what it should hold.
pub fn load(
    path: &Path,
    options: &ModelOptions,
    device: Device,
    kind: Kind,
    optimizer: impl FnOnce(&Parameters) -> AdamW,
) -> Result<Resumed, CheckpointError> {
    // The checkpoint has its own copy of the tokenizer.
    let options = ModelOptions { tokenizer: None, ..options.clone() };
    let model = M3Model::load(&path.join("model"), &options, device, kind)
        .map_err(|source| CheckpointError::Model { path: path.to_owned(), source })?;
    let mut optimizer = optimizer(&model.parameters);
    let state = read_train(path, &model, &mut optimizer)?;
    Ok(Resumed { model, optimizer, state })
}

/// Puts a checkpoint of the same run that [`newest_good`] found into `model` and `optimizer`. Their tensors stay where
/// they are, and the device holds nothing twice; of a sharded state the rank's parts are taken.
///
/// # Errors
/// As [`load`]; the weights or the state are then partly replaced.
pub fn reload(path: &Path, model: &mut M3Model, optimizer: &mut AdamW) -> Result<TrainState, CheckpointError> {
    let failed = |source| CheckpointError::Model { path: path.to_owned(), source };
    model.reload(&path.join("model")).map_err(failed)?;
    read_train(path, model, optimizer)
}

/// Reads how far a checkpoint is, and the state of its optimizer into `optimizer`.
fn read_train(path: &Path, model: &M3Model, optimizer: &mut AdamW) -> Result<TrainState, CheckpointError> {
    let bad = |reason: String| CheckpointError::Bad { path: path.to_owned(), reason };
    let state = fs::read_to_string(path.join("train/state.json")).map_err(|e| bad(format!("train/state.json: {e}")))?;
    let state: TrainState = serde_json::from_str(&state).map_err(|e| bad(format!("train/state.json: {e}")))?;
    let of_moments = |reason: String| bad(format!("train/optimizer.safetensors: {reason}"));
    let moments = Moments::open(&path.join("train/optimizer.safetensors")).map_err(of_moments)?;
    for spec in model.parameters.specs() {
        let read = |moment: &str| moments.read(&format!("{moment}.{}", spec.name), &spec.shape).map_err(of_moments);
        let start = model.parameters.span(std::slice::from_ref(&spec.name)).start();
        optimizer.put(start, [&read("mean")?, &read("square")?]);
    }
    optimizer.updates = state.progress.updates();
    Ok(state)
}
