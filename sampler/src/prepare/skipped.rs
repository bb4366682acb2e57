//! The list of rows left out, `skipped.jsonl`, one line of JSON each. Each data set has one while the store is made; in
//! the end there is one for all.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::place::Place;
use crate::store::{DurableFile, LIST_FILE};

/// The list of one data set, written as rows are skipped.
pub(super) struct SkippedList {
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
}

/// A row that was left out: a line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped<'a> {
    /// As it was named.
    pub file: Cow<'a, str>,
    /// Its line, from 1, in a file of lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its number, from 1, in a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// A sentence.
    pub reason: Cow<'a, str>,
}

impl SkippedList {
    /// Opens the list in a data set's folder, cut to its first `bytes` bytes.
    pub(super) fn open(dir: &Path, bytes: u64) -> Result<Self, StoreError> {
        let path = dir.join(LIST_FILE);
        let open = || {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            file.set_len(bytes)?;
            io::Seek::seek(&mut file, io::SeekFrom::Start(bytes))?;
            Ok(BufWriter::new(file))
        };
        let file = open().map_err(|source| StoreError::Io { path: path.clone(), source })?;
        Ok(Self { path, file, bytes })
    }

    pub(super) fn push(&mut self, path: &Path, place: Place, number: u64, reason: &str) -> Result<(), StoreError> {
        let (line, row) = match place {
            Place::Line => (Some(number), None),
            Place::Row => (None, Some(number)),
        };
        let skipped = Skipped { file: path.to_string_lossy(), line, row, reason: reason.into() };
        let mut line = serde_json::to_vec(&skipped).map_err(io::Error::from).map_err(|e| self.error(e))?;
        line.push(b'\n');
        self.bytes += line.len() as u64;
        self.file.write_all(&line).map_err(|e| self.error(e))
    }

    /// Makes sure that the list is on disk, and returns its length.
    pub(super) fn sync(&mut self) -> Result<u64, StoreError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|e| self.error(e))?;
        Ok(self.bytes)
    }

    fn error(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }
}

/// Joins the lists of all data sets.
pub(super) fn join(dirs: &[PathBuf], mut to: DurableFile) -> Result<(), StoreError> {
    for dir in dirs {
        let path = dir.join(LIST_FILE);
        let copied = match File::open(&path) {
            Ok(mut list) => io::copy(&mut list, &mut to).map(|_| ()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        };
        copied.map_err(|source| StoreError::Io { path, source })?;
    }
    to.finish().map(|_| ())
}
