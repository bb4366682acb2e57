//! Writing: beside, sync, rename.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tch::Tensor;
use tercet_configs::Recipe;

use super::manifest::{Manifest, NAME};
use super::{CheckpointError, TrainState, directory, list};
use crate::model::{M3Model, ModelError, write_safetensors};
use crate::optimizer::AdamW;

/// Writes the checkpoint of `state.step` into `run_dir` and returns its directory. Only rank 0 calls it.
///
/// # Errors
/// [`CheckpointError::Write`], after which nothing of this checkpoint is left.
pub fn write(
    run_dir: &Path,
    recipe: &Recipe,
    model: &M3Model,
    optimizer: &AdamW,
    state: &TrainState,
) -> Result<PathBuf, CheckpointError> {
    let target = directory(run_dir, state.step);
    let beside = run_dir.join(format!(".step-{:08}.{}", state.step, std::process::id()));
    let written = fill(&beside, recipe, model, optimizer, state).and_then(|()| {
        if target.exists() {
            // Only a bad checkpoint of the same step can be in the way: a good one would have been resumed from.
            fs::remove_dir_all(&target).map_err(|source| io_error(&target, source))?;
        }
        fs::rename(&beside, &target).map_err(|source| io_error(&target, source))?;
        File::open(run_dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error(run_dir, source))
    });
    if let Err(error) = written {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&beside);
        return Err(error);
    }
    Ok(target)
}

/// Removes all but the `keep` newest checkpoints (0 keeps all), and what interrupted writers left.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn remove_old(run_dir: &Path, keep: usize) -> Result<(), CheckpointError> {
    let checkpoints = list(run_dir);
    let old = if keep == 0 { 0 } else { checkpoints.len().saturating_sub(keep) };
    let left = fs::read_dir(run_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let left = left.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".step-")));
    for path in checkpoints[..old].iter().map(|(_, path)| path.clone()).chain(left) {
        fs::remove_dir_all(&path).map_err(|source| io_error(&path, source))?;
    }
    Ok(())
}

fn fill(
    dir: &Path,
    recipe: &Recipe,
    model: &M3Model,
    optimizer: &AdamW,
    state: &TrainState,
) -> Result<(), CheckpointError> {
    let model_error = |source: ModelError| match source {
        ModelError::Write { path, source } => CheckpointError::Write { path, source },
        source => CheckpointError::Model { path: dir.to_owned(), source },
    };
    let save = |path: PathBuf, text: String| fs::write(&path, text).map_err(|source| io_error(&path, source));
    for folder in ["model", "train"] {
        let path = dir.join(folder);
        fs::create_dir_all(&path).map_err(|source| io_error(&path, source))?;
    }
    model.save(&dir.join("model")).map_err(model_error)?;
    let parameters = &model.parameters;
    let moments: Vec<(String, Tensor)> = [("mean", &optimizer.mean), ("square", &optimizer.square)]
        .into_iter()
        .flat_map(|(moment, flat)| parameters.named_views(flat).map(move |(n, t)| (format!("{moment}.{n}"), t)))
        .collect();
    let moments: Vec<(&str, Tensor)> = moments.iter().map(|(n, t)| (n.as_str(), t.shallow_clone())).collect();
    write_safetensors(&dir.join("train/optimizer.safetensors"), &moments).map_err(model_error)?;
    save(dir.join("train/state.json"), json(state))?;
    save(dir.join("train/recipe.toml"), recipe.to_toml())?;
    let manifest = Manifest::of(dir).map_err(|source| io_error(dir, source))?;
    let path = dir.join(NAME);
    save(path.clone(), json(&manifest))?;
    let synced = File::open(&path).and_then(|file| file.sync_all()).and_then(|()| File::open(dir)?.sync_all());
    synced.map_err(|source| io_error(dir, source))
}

fn json(value: &impl serde::Serialize) -> String {
    // Plain structs of numbers and strings cannot fail to serialise.
    format!("{:#}\n", serde_json::to_value(value).expect("plain data"))
}

fn io_error(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Write { path: path.to_owned(), source }
}
