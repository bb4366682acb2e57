//! Writes checkpoints: writes beside, syncs, renames. Whenever the process ends, either the former complete checkpoint
//! exists or the new one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Flaw, Manifest, NAME};
use crate::checkpoint::{CheckpointError, Snapshot, directory, keep};
use crate::model::{HostTensor, ModelError, write_safetensors};

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// The number of steps done.
    pub step: u64,
    /// Its directory.
    pub path: PathBuf,
}

/// Writes the checkpoint that `snapshot` holds into `run_dir`, and returns what the user should know about others.
/// `histories`, the files with the records of the run's steps, are synced before the checkpoint exists, so no
/// checkpoint is ahead of them.
///
/// # Errors
/// [`CheckpointError::NotFinite`]; [`CheckpointError::Write`], after which nothing of this checkpoint is left.
pub fn write(
    run_dir: &Path,
    snapshot: &Snapshot,
    histories: &[File],
) -> Result<(Complete, Vec<String>), CheckpointError> {
    let step = snapshot.state.progress.step;
    let target = directory(run_dir, step);
    let is_lost = |(_, weight): &&(&str, HostTensor)| snapshot.begins_finite && !weight.is_finite();
    if let Some((name, _)) = snapshot.weights().iter().find(is_lost) {
        return Err(CheckpointError::NotFinite { path: target, step, name: (*name).to_owned() });
    }
    let beside = run_dir.join(format!(".step-{step:08}"));
    let written = fill(&beside, snapshot).and_then(|()| {
        histories.iter().try_for_each(File::sync_data).map_err(|source| io_error(run_dir, source))?;
        put_in_place(&beside, &target).map_err(|source| io_error(&target, source))
    });
    match written {
        Ok(remarks) => Ok((Complete { step, path: target }, remarks)),
        Err(error) => {
            // The first error is the one to report.
            let _ = fs::remove_dir_all(&beside);
            Err(error)
        }
    }
}

/// Renames a checkpoint to its place and makes that durable. Anything that was there gives way: a checkpoint is
/// removed, because it was damaged or the run would have resumed from it; anything else is set aside.
fn put_in_place(beside: &Path, target: &Path) -> io::Result<Vec<String>> {
    let mut remarks = Vec::new();
    let mut removed = None;
    if target.symlink_metadata().is_ok() {
        if matches!(Manifest::check(target), Ok(()) | Err(Flaw { is_damage: true, .. })) {
            let aside = keep::aside_of(target);
            fs::rename(target, &aside)?;
            removed = Some(aside);
        } else {
            let aside = set_aside(target)?;
            remarks.push(format!("{} was not a checkpoint, and is now {}", target.display(), aside.display()));
        }
    }
    if let Err(error) = fs::rename(beside, target) {
        // The former content is better than nothing.
        if let Some(aside) = removed {
            let _ = fs::rename(aside, target);
        }
        return Err(error);
    }
    File::open(target.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    if let Some(aside) = removed
        && let Err(error) = keep::remove_anything(&aside)
    {
        remarks.push(format!("{}: cannot be removed: {error}", aside.display()));
    }
    Ok(remarks)
}

/// Gives whatever is at `target` another name, which no checkpoint has.
fn set_aside(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let mut numbered = (1..).map(|n: u32| target.with_file_name(format!("aside-{n}-{name}")));
    let aside = numbered.find(|path| path.symlink_metadata().is_err()).unwrap_or_default();
    fs::rename(target, &aside)?;
    Ok(aside)
}

/// Removes what interrupted writers left. A run calls it first, once the folder is its own. Returns what cannot be
/// removed; that does no harm.
pub fn remove_interrupted(run_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    let left = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_interrupted));
    let removed = left.map(|entry| keep::remove_anything(&entry.path()).map_err(|error| (entry.path(), error)));
    let failed = removed.filter_map(Result::err);
    failed.map(|(path, error)| format!("{}: cannot be removed: {error}", path.display())).collect()
}

/// `.step-00000020`, `.step-00000020.removed`, `.step-00000020.removed2`
fn is_interrupted(name: &str) -> bool {
    let Some(name) = name.strip_prefix(".step-") else { return false };
    let digits = name.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = digits.strip_prefix(".removed").unwrap_or(digits);
    digits.len() + 8 <= name.len() && number.chars().all(|c| c.is_ascii_digit())
}

fn fill(dir: &Path, snapshot: &Snapshot) -> Result<(), CheckpointError> {
    let model_error = |source: ModelError| match source {
        ModelError::Write { path, source } => CheckpointError::Write { path, source },
        source => CheckpointError::Model { path: dir.to_owned(), source },
    };
    let save = |path: PathBuf, text: &str| fs::write(&path, text).map_err(|source| io_error(&path, source));
    if dir.symlink_metadata().is_ok() {
        // Nothing of an interrupted checkpoint may get into this one.
        keep::remove_anything(dir).map_err(|source| io_error(dir, source))?;
    }
    for folder in ["model", "train"] {
        let path = dir.join(folder);
        fs::create_dir_all(&path).map_err(|source| io_error(&path, source))?;
    }
    snapshot.files.save(&dir.join("model"), &snapshot.weights()).map_err(model_error)?;
    let moments = snapshot.moments();
    let moments: Vec<_> = moments.iter().map(|(name, part)| (name.as_str(), part)).collect();
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
    // Serialising plain structs of numbers and strings cannot fail.
    format!("{:#}\n", serde_json::to_value(value).expect("plain data"))
}

fn io_error(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Write { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_writers_leave_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let ours = [".step-00000020", ".step-00000020.removed", ".step-123456789.removed12"];
        let others = ["step-00000020", ".step-20", ".step-00000020.old", ".step-xyz", ".step-", ".step-00000020x", "x"];
        for name in ours.iter().chain(&others) {
            fs::create_dir_all(dir.path().join(name).join("model")).unwrap();
        }
        fs::write(dir.path().join(".step-00000030"), "a file").unwrap();
        std::os::unix::fs::symlink("step-00000020", dir.path().join(".step-00000040")).unwrap();
        assert_eq!(remove_interrupted(dir.path()), [""; 0]);
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        let mut expected = others;
        expected.sort_unstable();
        assert_eq!(left, expected);
        assert!(dir.path().join("step-00000020/model").exists(), "what a link leads to stays");
    }
}
