//! Output files that are either there whole or not at all, compressed if they are named `.gz` or `.zst`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tercet_cluster::Collective;
use tercet_sampler::{PackedWriter, unpacked_name};

use super::error::TaskError;

/// A file that is written beside its place and moved there by [`AtomicFile::commit`]. Dropped without, it leaves
/// nothing behind.
pub struct AtomicFile {
    path: PathBuf,
    /// `None` once committed.
    beside: Option<PathBuf>,
    /// `None` once committed.
    file: Option<PackedWriter<BufWriter<File>>>,
}

impl AtomicFile {
    /// Opens a file for `path`, creating the folders above it.
    ///
    /// # Errors
    /// [`TaskError::File`].
    pub fn create(path: &Path) -> Result<Self, TaskError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp-{}", std::process::id()));
        let beside = path.with_file_name(name);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(TaskError::file(folder))?;
        }
        let file = File::create(&beside)
            .and_then(|file| PackedWriter::new(path, BufWriter::with_capacity(1 << 20, file)))
            .map_err(TaskError::file(path))?;
        Ok(Self { path: path.to_owned(), beside: Some(beside), file: Some(file) })
    }

    /// Puts the file in its place, once its bytes are on the disk.
    ///
    /// # Errors
    /// [`TaskError::File`].
    pub fn commit(mut self) -> Result<(), TaskError> {
        let moved = self.write_out().and_then(|()| match &self.beside {
            Some(beside) => fs::rename(beside, &self.path),
            None => Ok(()),
        });
        moved.map_err(TaskError::file(&self.path))?;
        self.beside = None;
        Ok(())
    }

    fn write_out(&mut self) -> std::io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let mut file = file.finish()?;
        file.flush()?;
        file.get_ref().sync_all()
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
        if let Some(beside) = self.beside.take() {
            // Nothing is left to do if this fails as well.
            let _ = fs::remove_file(beside);
        }
    }
}

/// Whether all of `paths` are free for what rank 0 will write, and can be written; asked before the work, not after it. The
/// others wait for the answer, so that this mistake is the one that is reported, whatever else is wrong.
///
/// # Errors
/// [`TaskError::Exists`] or [`TaskError::File`], on rank 0; a rank that is gone.
pub fn must_be_free<'a>(ranks: &dyn Collective, paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    if ranks.rank() == 0 {
        for path in paths {
            if path.symlink_metadata().is_ok() {
                return Err(TaskError::Exists(path.to_owned()).into());
            }
            try_to_write(path)?;
        }
    }
    Ok(ranks.barrier()?)
}

/// Whether a file could be made at `path`: tried, and taken back, in the nearest folder above that is there.
fn try_to_write(path: &Path) -> Result<(), TaskError> {
    let mut above =
        path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(folder) = above.find(|folder| folder.symlink_metadata().is_ok()) else { return Ok(()) };
    let probe = folder.join(format!(".tercet-probe-{}", std::process::id()));
    // What is in the way of folders and what may not be written to is told by the system.
    File::create(&probe).map_err(TaskError::file(path))?;
    fs::remove_file(&probe).map_err(TaskError::file(path))
}

/// Whether what goes to `path` may be JSON Lines: another format's name would be no true one.
///
/// # Errors
/// [`TaskError::Usage`].
pub fn must_be_lines(path: &Path) -> Result<(), TaskError> {
    let unpacked = unpacked_name(path);
    match unpacked.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "json" | "ndjson") => Ok(()),
        _ => Err(TaskError::Usage(format!(
            "--out {}: rows are written as JSON Lines: give it a name that ends with .jsonl, .jsonl.gz or .jsonl.zst",
            path.display()
        ))),
    }
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
    fn where_nothing_can_be_written_is_told_before() {
        let (dir, ranks) = (tempfile::tempdir().unwrap(), tercet_cluster::Solo::new());
        fs::write(dir.path().join("file"), "").unwrap();
        let below = dir.path().join("file/out.jsonl");
        let error = must_be_free(&ranks, [below.as_path()]).unwrap_err().to_string();
        assert!(error.contains("file/out.jsonl: "), "{error}");
        must_be_free(&ranks, [dir.path().join("new/folder/out.jsonl").as_path()]).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left");
    }

    #[test]
    fn rows_are_not_named_as_what_they_are_not() {
        for name in ["a.jsonl", "a.jsonl.gz", "a.json.zst", "b/a.ndjson"] {
            must_be_lines(Path::new(name)).unwrap();
        }
        for name in ["a.parquet", "a.csv", "-", "a", "a.gz", "a.jsonl.bz2"] {
            assert!(must_be_lines(Path::new(name)).is_err(), "{name}");
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
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
        write_atomically(&dir.path().join("out.gz"), b"whole").unwrap();
        assert!(fs::read(dir.path().join("out.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
    }
}
