//! A file that is written beside its name and gets it when it is complete and on the disk.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tercet_sampler::PackedWriter;

use super::partial::Partial;
use crate::error::CurateError;

/// One that is being written, packed as its name says.
pub struct WholeFile {
    path: PathBuf,
    /// Where it is written; none for what cannot be replaced, such as a pipe.
    partial: Option<Partial>,
    writer: PackedWriter<BufWriter<File>>,
}

impl WholeFile {
    /// Begins the file at `path`, which may be there and is then replaced in the end. Folders above it are made.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(path: &Path) -> Result<Self, CurateError> {
        let is_other = path.symlink_metadata().is_ok_and(|there| !there.file_type().is_file());
        let partial = (!is_other).then(|| Partial::of(path));
        let written = partial.as_ref().map_or(path, Partial::place);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(CurateError::io(folder))?;
        }
        let file = File::create(written).map_err(CurateError::io(written))?;
        let writer = PackedWriter::new(path, BufWriter::with_capacity(1 << 20, file)).map_err(CurateError::io(path))?;
        Ok(Self { path: path.to_owned(), partial, writer })
    }

    /// The name that it gets.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line of JSON.
    ///
    /// # Errors
    /// The operating system's.
    pub fn object(&mut self, object: &impl Serialize) -> Result<(), CurateError> {
        let written = serde_json::to_writer(&mut self.writer, object).map_err(io::Error::from);
        let written = written.and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|source| CurateError::Io { path: self.path.clone(), source })
    }

    /// Writes a line of text.
    ///
    /// # Errors
    /// The operating system's.
    pub fn line(&mut self, line: &str) -> Result<(), CurateError> {
        let written = self.writer.write_all(line.as_bytes()).and_then(|()| self.writer.write_all(b"\n"));
        written.map_err(|source| CurateError::Io { path: self.path.clone(), source })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(self) -> Result<(), CurateError> {
        self.complete()?.name()
    }

    /// Brings all of it to the disk, where it is still without its name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn complete(self) -> Result<CompleteFile, CurateError> {
        let Self { path, partial, writer } = self;
        let file = writer.finish().and_then(|buffered| buffered.into_inner().map_err(io::IntoInnerError::into_error));
        // A pipe has no disk.
        let synced = file.and_then(|file| if partial.is_some() { file.sync_all() } else { Ok(()) });
        synced.map_err(CurateError::io(&path))?;
        Ok(CompleteFile { path, partial })
    }
}

/// A file that is on the disk and has not got its name yet.
pub struct CompleteFile {
    path: PathBuf,
    partial: Option<Partial>,
}

impl CompleteFile {
    /// Gives it its name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn name(self) -> Result<(), CurateError> {
        self.partial.map_or(Ok(()), Partial::name).map_err(CurateError::io(&self.path))
    }
}
