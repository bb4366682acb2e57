//! Output files that are either there whole or not at all, compressed if they are named `.gz` or `.zst`.
//!
//! A file is written beside its place, under a name that is always the same, so the next process writes over what a
//! killed one has left. A lock on the file (`flock`, where the file system supports it) keeps a second process away.
//! The file keeps both names until it and all files that belong to it are in their places. So a file of a process that
//! was killed before the end can be told from a finished one, and does not hinder the same command.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tercet_sampler::{PackedWriter, partial_of};

use super::error::CommandError;

/// The longest time that a killed process may take to disappear.
const PATIENCE: Duration = Duration::from_secs(5);

/// The time between two looks for it.
const POLL: Duration = Duration::from_millis(50);

/// A file that is written beside its place and put there by [`AtomicFile::commit`]. If it is dropped before, it leaves
/// nothing behind.
pub struct AtomicFile {
    path: PathBuf,
    /// Its name there; `None` once it has only the name of its place.
    partial: Option<PathBuf>,
    /// `None` once all is written.
    file: Option<PackedWriter<BufWriter<File>>>,
    /// The same file, locked until this is dropped.
    held: File,
}

impl AtomicFile {
    /// Opens a file for `path`, creating the folders above it.
    ///
    /// # Errors
    /// [`CommandError::File`]; [`CommandError::Usage`] while another process writes the same one.
    pub fn create(path: &Path) -> Result<Self, CommandError> {
        let partial = partial_of(path);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(CommandError::file(folder))?;
        }
        let file = open_locked(&partial, PATIENCE).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => CommandError::Usage(format!(
                "{} is being written by another process: wait for it or stop it, or choose another name",
                path.display()
            )),
            _ => CommandError::file(path)(error),
        })?;
        if is_interrupted(path) {
            fs::remove_file(path).map_err(CommandError::file(path))?;
        }
        file.set_len(0).map_err(CommandError::file(path))?;
        let packed = |held: &File| PackedWriter::new(path, BufWriter::with_capacity(1 << 20, held.try_clone()?));
        let packed = packed(&file).map_err(CommandError::file(path))?;
        Ok(Self { path: path.to_owned(), partial: Some(partial), file: Some(packed), held: file })
    }

    /// Its place.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts what was written on the disk, not yet in its place.
    fn sync(&mut self) -> Result<(), CommandError> {
        let written = match self.file.take() {
            Some(file) => file.finish().and_then(|mut file| file.flush()),
            None => Ok(()),
        };
        written.and_then(|()| self.held.sync_all()).map_err(CommandError::file(&self.path))
    }

    /// Puts the file in its place, which must be free.
    ///
    /// # Errors
    /// [`CommandError::File`]; [`CommandError::Exists`].
    pub fn commit(self) -> Result<(), CommandError> {
        commit_together(vec![self])
    }

    /// Puts the file in its place, also in that of another one.
    ///
    /// # Errors
    /// [`CommandError::File`].
    pub fn replace(mut self) -> Result<(), CommandError> {
        self.sync()?;
        self.rename()
    }

    fn rename(&mut self) -> Result<(), CommandError> {
        if let Some(partial) = &self.partial {
            fs::rename(partial, &self.path).map_err(CommandError::file(&self.path))?;
        }
        self.partial = None;
        sync_folder_of(&self.path);
        Ok(())
    }

    /// Gives the file its place's name as well.
    fn link(&mut self) -> Result<(), CommandError> {
        let Some(partial) = &self.partial else { return Ok(()) };
        match fs::hard_link(partial, &self.path) {
            Ok(()) => {
                sync_folder_of(&self.path);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(CommandError::Exists(self.path.clone())),
            // A file system without links.
            Err(_) => self.rename(),
        }
    }
}

/// As [`AtomicFile::commit`], for files that belong together.
///
/// # Errors
/// As there; none of them is in its place then.
pub fn commit_together(mut files: Vec<AtomicFile>) -> Result<(), CommandError> {
    files.iter_mut().try_for_each(AtomicFile::sync)?;
    let linked = files.iter_mut().try_for_each(AtomicFile::link);
    for file in files.iter().filter(|file| linked.is_err() && is_interrupted(&file.path)) {
        // The first error is the one to report.
        let _ = fs::remove_file(&file.path);
    }
    // Dropping them takes the other names away.
    linked
}

/// A name is durable only once its folder is. Not every file system can sync one; the file is there.
fn sync_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Whether the file at `path` has its other name yet.
pub(super) fn is_interrupted(path: &Path) -> bool {
    let identity = |path: &Path| path.symlink_metadata().ok().map(|file| (file.dev(), file.ino()));
    identity(path).is_some_and(|own| identity(&partial_of(path)) == Some(own))
}

/// Whether a process has begun to write the file for `path`, and was killed or is at work.
pub fn is_begun(path: &Path) -> bool {
    partial_of(path).symlink_metadata().is_ok()
}

/// Removes what a killed process has begun to write for `path`, if there is something.
///
/// # Errors
/// [`CommandError::File`].
pub fn remove_begun(path: &Path) -> Result<(), CommandError> {
    match fs::remove_file(partial_of(path)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CommandError::file(&partial_of(path))(error)),
        _ => Ok(()),
    }
}

/// Opens a file, which may be there, for this process alone.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] if another process has it for as long as `patience`; what opening fails with.
fn open_locked(path: &Path, patience: Duration) -> io::Result<File> {
    let begun = Instant::now();
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                sleep(POLL);
                continue;
            }
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::WouldBlock.into()),
            // A file system that knows no locks.
            Err(TryLockError::Error(_)) => return Ok(file),
        }
        // Whoever had it may have renamed or removed it meanwhile.
        let own = file.metadata()?;
        if path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            return Ok(file);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take() {
            // Nothing is left to do if this fails as well.
            let _ = fs::remove_file(partial);
        }
    }
}

/// Writes `bytes` to the file at `path`, which may exist: all of them, or none on an error.
///
/// # Errors
/// [`CommandError::File`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(CommandError::file(path))?;
    file.replace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/out.jsonl");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
        fs::write(partial_of(&path), "what a killed process left, which is longer").unwrap();
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
        write_atomically(&dir.path().join("out.gz"), b"whole").unwrap();
        assert!(fs::read(dir.path().join("out.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
    }

    #[test]
    fn two_processes_do_not_write_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl.tercet-partial");
        let first = open_locked(&path, Duration::ZERO).unwrap();
        assert_eq!(open_locked(&path, POLL).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(first);
        assert!(open_locked(&path, Duration::ZERO).is_ok());
        // Somebody else's file, renamed between opening and locking, is not taken.
        let opened = open_locked(&path, Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| open_locked(&path, PATIENCE).unwrap());
            fs::rename(&path, dir.path().join("out.jsonl")).unwrap();
            drop(opened);
            let second = second.join().unwrap().metadata().unwrap().ino();
            assert_eq!(second, fs::metadata(&path).unwrap().ino());
            assert_ne!(second, fs::metadata(dir.path().join("out.jsonl")).unwrap().ino());
        });
    }
}
