//! What is written before it gets its name, and is gone if it does not get it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tercet_sampler::partial_of;

/// A file or folder beside `path`. Always of the same name: what a killed process left is written over.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    partial: PathBuf,
    is_named: bool,
}

impl Partial {
    /// What will be at `path`.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), partial: partial_of(path), is_named: false }
    }

    /// Where to write.
    pub fn place(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name.
    pub fn name(mut self) -> io::Result<()> {
        fs::rename(&self.partial, &self.path)?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_named {
            // The first error is the one to report.
            _ = fs::remove_file(&self.partial).or_else(|_| fs::remove_dir_all(&self.partial));
        }
    }
}
