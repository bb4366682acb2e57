//! Decides which checkpoints stay. It uses the same checks as resuming, so a torn checkpoint does not take the place of
//! a good one.
//!
//! A check of a checkpoint reads all of it. So a checkpoint that this process has written, resumed from, or checked
//! before is judged only by its manifest and its files' sizes. The writing thread checks the others once, and only as
//! many as are needed to find those that stay.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::list;
use super::manifest::{Flaw, Manifest, NAME};

/// The checkpoints that a run keeps.
#[derive(Debug)]
pub struct Kept {
    keep: usize,
    /// The step of the one that stays whatever its number, because its model is the best.
    best: Option<u64>,
    /// Steps of checkpoints that have passed a complete check.
    good: BTreeSet<u64>,
    /// Steps of those that are left alone and have been reported.
    told: BTreeSet<u64>,
}

impl Kept {
    /// The `keep` newest good ones stay (0: all). The checkpoint of `step`, if there is one, has passed every check.
    pub fn new(keep: usize, step: u64) -> Self {
        Self { keep, best: None, good: BTreeSet::from([step]), told: BTreeSet::new() }
    }

    /// The run continues from the checkpoint of `step`, which has passed every check; no later one has.
    pub fn goes_on_from(&mut self, step: u64) {
        self.good.retain(|good| *good < step);
        self.good.insert(step);
    }

    /// The checkpoint of `step` stays besides the newest, if it is good.
    pub fn best_is(&mut self, step: Option<u64>) {
        self.best = step;
    }

    /// The checkpoint of `step` is complete: removes earlier ones that need not stay, and returns what the user should
    /// know. This run cannot continue from later ones; they stay unchanged until the run reaches their steps.
    ///
    /// A damaged one is removed as well, because there is now a newer good one. One whose damage cannot be determined
    /// (no manifest, another version's, a disk that does not answer) stays and does not count.
    pub fn complete(&mut self, run_dir: &Path, step: u64) -> Vec<String> {
        self.good.insert(step);
        if self.keep == 0 {
            return Vec::new();
        }
        let mut remarks = Vec::new();
        let mut num_good = 1;
        for (old, path) in list(run_dir).into_iter().rev().filter(|(old, _)| *old < step) {
            if num_good >= self.keep && self.best != Some(old) {
                if !path.join(NAME).is_file() {
                    continue;
                }
            } else {
                match self.check(old, &path) {
                    Ok(()) => {
                        num_good += 1;
                        continue;
                    }
                    Err(Flaw { reason, is_damage: true }) => {
                        remarks.push(format!("{}: {reason}: removed, as there is a newer one", path.display()));
                    }
                    Err(Flaw { reason, .. }) => {
                        if self.told.insert(old) {
                            remarks.push(format!("{}: {reason}: left in place and ignored", path.display()));
                        }
                        continue;
                    }
                }
            }
            self.good.remove(&old);
            if let Err(error) = remove(&path) {
                remarks.push(format!("{}: cannot be removed: {error}", path.display()));
            }
        }
        remarks
    }

    fn check(&mut self, step: u64, path: &Path) -> Result<(), Flaw> {
        if self.good.contains(&step) {
            return Manifest::check_sizes(path);
        }
        Manifest::check(path)?;
        self.good.insert(step);
        Ok(())
    }
}

/// Removes a checkpoint so that it is complete or absent whenever the process ends.
pub(super) fn remove(checkpoint: &Path) -> io::Result<()> {
    let aside = aside_of(checkpoint);
    fs::rename(checkpoint, &aside)?;
    remove_anything(&aside)
}

/// A free name beside `checkpoint` for a checkpoint that is about to be removed; `remove_interrupted` recognises it.
pub(super) fn aside_of(checkpoint: &Path) -> PathBuf {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let numbered = |n: u32| checkpoint.with_file_name(format!(".{name}.removed{n}"));
    let first = checkpoint.with_file_name(format!(".{name}.removed"));
    std::iter::once(first).chain((2..).map(numbered)).find(|path| path.symlink_metadata().is_err()).unwrap_or_default()
}

/// Removes a folder with its content, or a file, or a link but not its target.
pub(super) fn remove_anything(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
