//! Output files that are either there whole or not at all, compressed if they are named `.gz` or `.zst`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tercet_cluster::Collective;
use tercet_sampler::PackedWriter;

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

/// Endings of formats in which nothing is written here; a file that is named so would not be what its name says.
const OTHER_FORMATS: [&str; 10] = ["bz2", "xz", "lz4", "zip", "7z", "br", "parquet", "arrow", "feather", "csv"];

/// Whether all of `paths` are free for what rank 0 will write, and not named as what it will not; asked before the work, not
/// after it. The others wait for the answer, so that this mistake is the one that is reported, whatever else is wrong.
///
/// # Errors
/// [`TaskError::Exists`] or [`TaskError::Usage`], on rank 0; a rank that is gone.
pub fn must_be_free<'a>(ranks: &dyn Collective, paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    let paths: Vec<&Path> = paths.into_iter().collect();
    let ending = |path: &Path| path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let other = |path: &Path| ending(path).filter(|ending| OTHER_FORMATS.contains(&ending.as_str()));
    if let Some((path, ending)) = paths.iter().find_map(|path| Some((path, other(path)?))).filter(|_| ranks.rank() == 0)
    {
        let reason = "is a format in which nothing is written here: name it .jsonl, .jsonl.gz or .jsonl.zst";
        return Err(TaskError::Usage(format!("{}: .{ending} {reason}", path.display())).into());
    }
    if let Some(taken) = paths.into_iter().find(|path| ranks.rank() == 0 && path.symlink_metadata().is_ok()) {
        return Err(TaskError::Exists(taken.to_owned()).into());
    }
    Ok(ranks.barrier()?)
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
        let other = must_be_free(&ranks, [dir.path().join("new.jsonl.bz2").as_path()]).unwrap_err();
        assert!(other.to_string().contains("new.jsonl.bz2: .bz2 is a format"), "{other}");
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
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 1);
        write_atomically(&dir.path().join("out.gz"), b"whole").unwrap();
        assert!(fs::read(dir.path().join("out.gz")).unwrap().starts_with(&[0x1f, 0x8b]));
    }
}
