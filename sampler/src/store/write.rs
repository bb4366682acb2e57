//! The write side: tokenised rows in; a finished store out, or one that can be continued, or none.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::begun::{Begun, StoreSettings};
use super::dataset::DatasetWriter;
use super::durable::{DurableFile, partial, sync_folder_of};
use super::held::HeldFolder;
use super::manifest::{DatasetMeta, Holds, MANIFEST_FILE, Manifest, UNFINISHED_FILE, check_name};
use super::unfinished::{Left, LeftDataset, LeftShards, tidy};
use crate::error::StoreError;

/// Writes a store. The manifest comes last. A writer that is dropped before [`finish`](Self::finish) removes what it
/// wrote, or keeps it if it can be continued.
#[derive(Debug)]
pub struct StoreWriter {
    dir: PathBuf,
    /// Held until all is written or removed.
    held: HeldFolder,
    /// What is removed if the store is not finished and nothing of it is kept.
    written: Vec<PathBuf>,
    begun: Begun,
}

impl StoreWriter {
    /// Starts a store in `dir`, which is made if it is missing. It cannot be continued.
    ///
    /// # Errors
    /// `dir` holds something already, cannot be made, or is being written by another process.
    pub fn create(dir: &Path, settings: StoreSettings) -> Result<Self, StoreError> {
        Self::create_in(dir, hold(dir)?, settings)
    }

    fn create_in(dir: &Path, held: HeldFolder, settings: StoreSettings) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: dir.to_owned(), source };
        if dir.join(MANIFEST_FILE).exists() {
            return Err(occupied(dir, "holds a token store"));
        }
        // Nothing is lost yet if the folder is; and not every file system can sync one.
        let _ = sync_folder_of(dir);
        let writer = Self::unchecked(dir, held, settings);
        // A process that was killed before its first record may have left the record's beginning, which says nothing
        // yet.
        let begun = partial(&dir.join(UNFINISHED_FILE));
        for entry in fs::read_dir(dir).map_err(io)? {
            if entry.map_err(io)?.path() != begun {
                return Err(occupied(dir, "is not empty (other files, or a store that cannot be continued)"));
            }
        }
        Ok(writer)
    }

    /// Starts a store in `dir`, or continues the one that was begun there with the same `request`.
    ///
    /// # Errors
    /// `dir` holds something else, or what was begun with another request; it cannot be made, or another process writes
    /// it.
    pub(crate) fn create_or_resume(
        dir: &Path,
        settings: StoreSettings,
        drop_duplicates: bool,
        request: &str,
    ) -> Result<Self, StoreError> {
        let (path, held) = (dir.join(UNFINISHED_FILE), hold(dir)?);
        let mut writer = match fs::read_to_string(&path) {
            Ok(begun) if begun == request => {
                let mut writer = Self::unchecked(dir, held, settings);
                writer.begun.is_kept = true;
                writer
            }
            Ok(_) => {
                let reason = "holds an unfinished store of another command: repeat that one to continue it";
                return Err(occupied(dir, reason));
            }
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(StoreError::Io { path, source });
            }
            Err(_) => {
                let mut writer = Self::create_in(dir, held, settings)?;
                let mut file = writer.file(UNFINISHED_FILE)?;
                file.write_all(request.as_bytes()).map_err(|e| file.error(e))?;
                file.finish()?;
                writer
            }
        };
        (writer.begun.drop_duplicates, writer.begun.is_resumable) = (drop_duplicates, true);
        Ok(writer)
    }

    fn unchecked(dir: &Path, held: HeldFolder, settings: StoreSettings) -> Self {
        Self { dir: dir.to_owned(), held, written: Vec::new(), begun: Begun::new(settings) }
    }

    /// Starts the next data set, of pairs; what an earlier attempt left of it is removed.
    ///
    /// # Errors
    /// The name was used before or cannot be a folder's, or the folder cannot be made.
    pub fn dataset(&mut self, name: &str) -> Result<DatasetWriter<'_>, StoreError> {
        self.dataset_of(name, Holds::Pairs)
    }

    /// As [`dataset`](Self::dataset), for rows that are what it `holds`.
    ///
    /// # Errors
    /// As [`dataset`](Self::dataset).
    pub fn dataset_of(&mut self, name: &str, holds: Holds) -> Result<DatasetWriter<'_>, StoreError> {
        let refused = |reason: String| StoreError::Name { name: name.to_owned(), reason };
        check_name(name).map_err(refused)?;
        if self.begun.datasets.iter().any(|dataset| dataset.name == name) {
            return Err(refused("is there already: each data set has its own name".into()));
        }
        let dir = self.dir.join(name);
        let io = |source| StoreError::Io { path: dir.clone(), source };
        if self.begun.is_resumable && dir.exists() {
            // An attempt that was stopped while it tidied up has left a manifest, which is not true from here on.
            match fs::remove_file(self.dir.join(MANIFEST_FILE)) {
                Err(source) if source.kind() != ErrorKind::NotFound => return Err(io(source)),
                _ => fs::remove_dir_all(&dir).map_err(io)?,
            }
        }
        fs::create_dir(&dir).map_err(io)?;
        self.written.push(dir.clone());
        Ok(DatasetWriter::new(&mut self.begun, name, holds, dir))
    }

    /// What an earlier attempt left of a data set.
    pub(crate) fn left_of(&self, name: &str) -> Result<Left, StoreError> {
        Left::find(&self.dir.join(name))
    }

    /// Goes on after the shards that an earlier attempt finished.
    pub(crate) fn resume_dataset(&mut self, name: &str, holds: Holds, left: LeftShards) -> DatasetWriter<'_> {
        let dir = self.dir.join(name);
        DatasetWriter::after(&mut self.begun, name, holds, dir, left)
    }

    /// Takes over a data set that an earlier attempt finished.
    pub(crate) fn take_dataset(&mut self, left: LeftDataset) -> &DatasetMeta {
        self.begun.add(*left.0)
    }

    /// Starts a file beside the data sets.
    pub(crate) fn file(&mut self, name: &str) -> Result<DurableFile, StoreError> {
        let path = self.dir.join(name);
        let file = DurableFile::create(&path)?;
        self.written.extend([partial(&path), path]);
        Ok(file)
    }

    /// Writes the manifest: from here on it is a store.
    ///
    /// # Errors
    /// The manifest cannot be written, or what is no part of the finished store cannot be removed.
    pub fn finish(mut self) -> Result<Manifest, StoreError> {
        let manifest = self.begun.manifest();
        let mut file = self.file(MANIFEST_FILE)?;
        writeln!(file, "{}", manifest.to_json()).map_err(|e| file.error(e))?;
        file.finish()?;
        self.begun.is_kept = true;
        tidy(&self.dir, &manifest.datasets)?;
        if self.begun.is_resumable {
            let path = self.dir.join(UNFINISHED_FILE);
            fs::remove_file(&path).map_err(|source| StoreError::Io { path, source })?;
        }
        Ok(manifest)
    }

    /// The data sets that are finished.
    pub(crate) fn datasets(&self) -> &[DatasetMeta] {
        &self.begun.datasets
    }
}

impl Drop for StoreWriter {
    /// Half a store that cannot be continued helps nobody, and would be in the way of the next attempt.
    fn drop(&mut self) {
        if self.begun.is_kept {
            return;
        }
        // Backwards: the request, which says that the rest can be continued, goes last.
        for path in self.written.iter().rev() {
            // What cannot be removed is named by the next attempt as being in the way.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        if self.held.is_new {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Takes the folder before anything in it is looked at or changed.
fn hold(dir: &Path) -> Result<HeldFolder, StoreError> {
    if dir.exists() && !dir.is_dir() {
        return Err(occupied(dir, "is a file, not a folder"));
    }
    HeldFolder::take(dir)
}

fn occupied(dir: &Path, reason: &str) -> StoreError {
    StoreError::Occupied { dir: dir.to_owned(), reason: reason.into() }
}
