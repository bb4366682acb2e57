//! Writing: beside, sync, rename.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, NAME};
use super::{CheckpointError, Snapshot, directory, list};
use crate::model::{HostTensor, ModelError, write_safetensors};

/// Writes the checkpoint that `snapshot` holds into `run_dir` and returns its directory. `history`, the file with what the
/// run tells of its steps, is synced before the checkpoint is there, so that no checkpoint is ahead of it.
///
/// # Errors
/// [`CheckpointError::Write`], after which nothing of this checkpoint is left.
pub fn write(run_dir: &Path, snapshot: &Snapshot, history: &File) -> Result<PathBuf, CheckpointError> {
    let step = snapshot.state.progress.step;
    let target = directory(run_dir, step);
    let beside = run_dir.join(format!(".step-{step:08}"));
    let written = fill(&beside, snapshot).and_then(|()| {
        history.sync_data().map_err(|source| io_error(run_dir, source))?;
        if target.exists() {
            // Only a bad checkpoint of the same step can be in the way: a good one would have been resumed from.
            remove(&target)?;
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

/// Removes what interrupted writers left: what a run does before anything else, when the folder is its own.
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn remove_interrupted(run_dir: &Path) -> Result<(), CheckpointError> {
    let left = fs::read_dir(run_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut left = left.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".step-")));
    left.try_for_each(|path| fs::remove_dir_all(&path).map_err(|source| io_error(&path, source)))
}

/// Removes all but the `keep` newest checkpoints (0 keeps all).
///
/// # Errors
/// [`CheckpointError::Write`].
pub fn remove_old(run_dir: &Path, keep: usize) -> Result<(), CheckpointError> {
    let checkpoints = list(run_dir);
    let old = if keep == 0 { 0 } else { checkpoints.len().saturating_sub(keep) };
    checkpoints[..old].iter().try_for_each(|(_, path)| remove(path))
}

/// Removes a checkpoint so that, whenever the process ends, it is there whole or not at all.
fn remove(checkpoint: &Path) -> Result<(), CheckpointError> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let aside = checkpoint.with_file_name(format!(".{name}.removed"));
    fs::rename(checkpoint, &aside)
        .and_then(|()| fs::remove_dir_all(&aside))
        .map_err(|source| io_error(checkpoint, source))
}

fn fill(dir: &Path, snapshot: &Snapshot) -> Result<(), CheckpointError> {
    let model_error = |source: ModelError| match source {
        ModelError::Write { path, source } => CheckpointError::Write { path, source },
        source => CheckpointError::Model { path: dir.to_owned(), source },
    };
    let save = |path: PathBuf, text: &str| fs::write(&path, text).map_err(|source| io_error(&path, source));
    for folder in ["model", "train"] {
        let path = dir.join(folder);
        fs::create_dir_all(&path).map_err(|source| io_error(&path, source))?;
    }
    snapshot.files.save(&dir.join("model"), &snapshot.weights()).map_err(model_error)?;
    let moments = snapshot.moments();
    let moments: Vec<(&str, &HostTensor)> = moments.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    write_safetensors(&dir.join("train/optimizer.safetensors"), &moments).map_err(model_error)?;
    save(dir.join("train/state.json"), &json(&snapshot.state))?;
    save(dir.join("train/recipe.toml"), &snapshot.recipe)?;
    let manifest = Manifest::of(dir).map_err(|source| io_error(dir, source))?;
    let path = dir.join(NAME);
    save(path.clone(), &json(&manifest))?;
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
