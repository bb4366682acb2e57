//! Which checkpoints stay. What is kept goes by the checks that resuming goes by: torn ones take nobody's place.
//!
//! Checking a checkpoint reads all of it. So one that this process has written or resumed from, or has checked before, is
//! looked at by its manifest and its files' sizes from then on; the others are checked once, by the thread that writes,
//! and only as many as are needed to find those that stay.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::list;
use super::manifest::{Flaw, Manifest, NAME};

/// What a run keeps.
#[derive(Debug)]
pub struct Kept {
    keep: usize,
    /// Steps of checkpoints that were good in full.
    good: BTreeSet<u64>,
    /// Steps of those that are left alone, which has been said.
    told: BTreeSet<u64>,
}

impl Kept {
    /// The `keep` newest good ones stay (0: all); that of `step`, if there is one, has passed every check.
    pub fn new(keep: usize, step: u64) -> Self {
        Self { keep, good: BTreeSet::from([step]), told: BTreeSet::new() }
    }

    /// The run goes on from the checkpoint of `step`, which has passed every check; no later one has.
    pub fn goes_on_from(&mut self, step: u64) {
        self.good.retain(|good| *good < step);
        self.good.insert(step);
    }

    /// The checkpoint of `step` is complete: removes those before it that need not stay, and says what the user should
    /// know. Those after it are none of this run's that can be gone on from, and stay as they are until the run comes
    /// there.
    ///
    /// A damaged one goes as well: there is a newer good one now. What cannot be told to be damaged (no manifest, another
    /// version's, a disk that does not answer) stays, and counts for nothing.
    pub fn complete(&mut self, run_dir: &Path, step: u64) -> Vec<String> {
        self.good.insert(step);
        if self.keep == 0 {
            return Vec::new();
        }
        let mut remarks = Vec::new();
        let mut num_good = 1;
        for (old, path) in list(run_dir).into_iter().rev().filter(|(old, _)| *old < step) {
            if num_good >= self.keep {
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
                            remarks.push(format!("{}: {reason}: left alone, and counted as none", path.display()));
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

/// Removes a checkpoint so that, whenever the process ends, it is there whole or not at all.
pub(super) fn remove(checkpoint: &Path) -> io::Result<()> {
    let aside = beside(checkpoint);
    fs::rename(checkpoint, &aside)?;
    remove_anything(&aside)
}

/// A free name beside `checkpoint` for what is about to be removed; `remove_interrupted` knows it.
pub(super) fn beside(checkpoint: &Path) -> PathBuf {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let numbered = |n: u32| checkpoint.with_file_name(format!(".{name}.removed{n}"));
    let first = checkpoint.with_file_name(format!(".{name}.removed"));
    std::iter::once(first).chain((2..).map(numbered)).find(|path| path.symlink_metadata().is_err()).unwrap_or_default()
}

/// Removes a folder and all that is in it, or a file, or a link and not what it leads to.
pub(super) fn remove_anything(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}
