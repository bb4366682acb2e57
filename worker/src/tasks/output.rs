//! Output files that are either there whole or not at all.
//!
//! A file is written beside its place, under a name that is always the same: what a killed process has left there is
//! written over by the next. A lock on it (`flock`, where the file system knows it) keeps a second process away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tercet_cluster::Collective;

use super::error::TaskError;

/// How long a process that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked after.
const POLL: Duration = Duration::from_millis(50);

/// A file that is written beside its place and moved there by [`AtomicFile::commit`]. Dropped without, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    /// `None` once committed.
    beside: Option<PathBuf>,
    file: BufWriter<File>,
}

impl AtomicFile {
    /// Opens a file for `path`, creating the folders above it.
    ///
    /// # Errors
    /// [`TaskError::File`]; [`TaskError::Usage`] while another process writes the same one.
    pub fn create(path: &Path) -> Result<Self, TaskError> {
        let beside = beside(path);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
        }
        let file = open_locked(&beside, PATIENCE).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => TaskError::Usage(format!(
                "{} is being written by another process: wait for it or stop it, or choose another name",
                path.display()
            )),
            _ => TaskError::file(path)(error),
        })?;
        let file = Self { path: path.to_owned(), beside: Some(beside), file: BufWriter::with_capacity(1 << 20, file) };
        file.file.get_ref().set_len(0).map_err(TaskError::file(path))?;
        Ok(file)
    }

    /// Puts what was written on the disk, not yet in its place.
    ///
    /// # Errors
    /// [`TaskError::File`].
    pub fn sync(&mut self) -> Result<(), TaskError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(TaskError::file(&self.path))
    }

    /// Puts the file in its place, once its bytes are on the disk.
    ///
    /// # Errors
    /// [`TaskError::File`].
    pub fn commit(mut self) -> Result<(), TaskError> {
        self.sync()?;
        if let Some(beside) = &self.beside {
            fs::rename(beside, &self.path).map_err(TaskError::file(&self.path))?;
        }
        self.beside = None;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The file is there; not every file system can sync a folder.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

/// Where the file for `path` is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tercet-partial");
    path.with_file_name(name)
}

/// Opens a file, which may be there, for this process alone.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] if another process has it for as long as `patience`; what opening fails with.
fn open_locked(path: &Path, patience: Duration) -> io::Result<File> {
    let begun = Instant::now();
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        // SAFETY: flock has no memory effects; the descriptor is open.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            match error.kind() {
                ErrorKind::WouldBlock if begun.elapsed() >= patience => return Err(error),
                ErrorKind::WouldBlock => sleep(POLL),
                ErrorKind::Interrupted => {}
                // A file system that knows no locks.
                _ => return Ok(file),
            }
            continue;
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
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(beside) = self.beside.take() {
            // Nothing is left to do if this fails as well.
            let _ = fs::remove_file(beside);
        }
    }
}

/// Whether all of `paths` are free for what rank 0 will write; asked before the work, not after it. The others wait for
/// the answer, so that this mistake is the one that is reported, whatever else is wrong.
///
/// # Errors
/// [`TaskError::Exists`], on rank 0; a rank that is gone.
pub fn must_be_free<'a>(ranks: &dyn Collective, paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    if let Some(taken) = paths.into_iter().find(|path| ranks.rank() == 0 && path.symlink_metadata().is_ok()) {
        return Err(TaskError::Exists(taken.to_owned()).into());
    }
    Ok(ranks.barrier()?)
}

/// How many of `paths`, which [`write_together`] writes, a process that was killed has put in their places before it came to
/// the others: these are not finished, and do not have to be free. What it was about to do next lies beside its place.
pub fn num_interrupted(paths: &[&Path]) -> usize {
    let num_there = paths.iter().take_while(|path| path.symlink_metadata().is_ok()).count();
    let (there, others) = paths.split_at(num_there);
    let (Some(last), Some(next)) = (there.last(), others.first()) else { return 0 };
    let same = |next: Vec<u8>| fs::read(last).is_ok_and(|last| last == next);
    if fs::read(beside(next)).is_ok_and(same) { num_there } else { 0 }
}

/// Writes `bytes` to each of `paths`: if the process is killed between them, [`num_interrupted`] knows.
///
/// # Errors
/// As [`AtomicFile::create`].
pub fn write_together(paths: &[&Path], bytes: &[u8]) -> Result<(), TaskError> {
    for path in &paths[..num_interrupted(paths)] {
        // First, for what says that it is not finished is about to be written anew.
        fs::remove_file(path).map_err(TaskError::file(path))?;
    }
    let write = |path: &&Path| {
        let mut file = AtomicFile::create(path)?;
        file.write_all(bytes).map_err(TaskError::file(path))?;
        file.sync()?;
        Ok(file)
    };
    let files = paths.iter().map(write).collect::<Result<Vec<_>, TaskError>>()?;
    files.into_iter().try_for_each(AtomicFile::commit)
}

/// Writes `bytes` to the file at `path`: all of them, or, on an error, none.
///
/// # Errors
/// [`TaskError::File`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TaskError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(TaskError::file(path))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_written_over() {
        let (dir, ranks) = (tempfile::tempdir().unwrap(), tercet_cluster::Solo::new());
        must_be_free(&ranks, [dir.path().join("new").as_path()]).unwrap();
        for taken in [dir.path(), Path::new("/dev/null")] {
            assert!(must_be_free(&ranks, [taken]).unwrap_err().to_string().contains("not overwritten"));
        }
    }

    #[test]
    fn a_file_that_is_not_committed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/out.jsonl");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 0);
        fs::write(beside(&path), "what a killed process left, which is longer").unwrap();
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
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

    #[test]
    fn files_that_belong_together_are_told_from_those_that_are_finished() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["metrics.json", "figures.json"].map(|name| dir.path().join(name));
        let paths = [first.as_path(), second.as_path()];
        fs::write(&first, "1").unwrap();
        assert_eq!(num_interrupted(&paths), 0, "somebody's");
        fs::write(beside(&second), "2").unwrap();
        assert_eq!(num_interrupted(&paths), 0, "of another command");
        fs::write(beside(&second), "1").unwrap();
        assert_eq!(num_interrupted(&paths), 1);
        write_together(&paths, b"3").unwrap();
        assert_eq!(paths.map(|path| fs::read(path).unwrap()), [b"3", b"3"]);
        assert_eq!((num_interrupted(&paths), fs::read_dir(dir.path()).unwrap().count()), (0, 2), "finished");
    }
}
