//! A file that is there completely or not at all, even if the machine goes down.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::manifest::FileMeta;
use crate::error::StoreError;

/// Writes beside the final path and renames on [`finish`](Self::finish), after the data has reached the disk.
#[derive(Debug)]
pub(crate) struct DurableFile {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

/// Where a file is written before it gets its name. Always the same: what a killed process left is written over.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    PathBuf::from(partial)
}

/// Where every program writes a file or folder of the user's before it gets its name. Always of the same name: what a
/// killed process left is written over.
pub fn partial_of(path: &Path) -> PathBuf {
    // Not of the path as it is typed, which may end with a slash.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tercet-partial");
    path.with_file_name(name)
}

/// Writes `bytes` to the file at `path`, in place of what it holds. A kill at any moment leaves the old content or the
/// new, whole.
///
/// # Errors
/// The operating system's.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What is no plain file, such as /dev/stdout, or a link, cannot be replaced by one.
    if path.symlink_metadata().is_ok_and(|there| !there.file_type().is_file()) {
        return fs::write(path, bytes);
    }
    let partial = partial_of(path);
    let mut file = File::create(&partial)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        return written;
    }
    // The file is there; not every file system can sync a folder.
    let _ = sync_folder_of(path);
    Ok(())
}

impl DurableFile {
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let partial = partial(path);
        let file = File::create(&partial).map_err(|source| StoreError::Io { path: partial.clone(), source })?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            file: BufWriter::with_capacity(1 << 20, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    /// An error of writing to this file, with its path.
    pub(crate) fn error(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }

    /// Makes the file durable and visible.
    pub(crate) fn finish(self) -> Result<FileMeta, StoreError> {
        let Self { path, partial, mut file, hasher, bytes } = self;
        let finished = file
            .flush()
            .and_then(|()| file.get_ref().sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .and_then(|()| sync_folder_of(&path));
        finished.map_err(|source| StoreError::Io { path: path.clone(), source })?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(FileMeta { file, bytes, blake3: hasher.finalize().to_hex().to_string() })
    }
}

impl Write for DurableFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A rename is durable only once its folder is.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_takes_the_place_of_what_was_there_and_of_what_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        fs::write(partial_of(&path), "half of an earlier attempt, longer than the new one").unwrap();
        for text in ["first", "second"] {
            write_durably(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        write_durably(Path::new("/dev/null"), b"gone").unwrap();
        assert!(write_durably(&dir.path().join("absent/plan.json"), b"").is_err());
    }
}
