//! Places for outputs: free before the work begins, of a name that fits what is written, and filled together.

use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use tercet_cluster::Collective;
use tercet_sampler::{partial_of, unpacked_name};

use super::atomic::{AtomicFile, commit_together, is_interrupted};
use super::error::CommandError;

/// Endings of formats that no command writes. A file with such a name would not be what the name says.
const OTHER_FORMATS: [&str; 10] = ["bz2", "xz", "lz4", "zip", "7z", "br", "parquet", "arrow", "feather", "csv"];

/// Checks, before the work begins, that rank 0 can write all of `paths`: they are free, their folders can be written
/// to, and their names are not those of other formats. The other ranks wait for the answer, so that this mistake is
/// reported first.
///
/// # Errors
/// [`CommandError::Exists`], [`CommandError::File`] or [`CommandError::Usage`], on rank 0; a rank that is gone.
pub fn must_be_free<'a>(ranks: &dyn Collective, paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    let paths: Vec<&Path> = paths.into_iter().collect();
    if ranks.rank() == 0 {
        paths.iter().try_for_each(|path| must_be_of_its_name(path))?;
        if let Some(taken) = (0..paths.len()).find(|&i| paths[i].symlink_metadata().is_ok() && !is_left(&paths, i)) {
            return Err(CommandError::Exists(paths[taken].to_owned()).into());
        }
        paths.iter().try_for_each(|path| must_be_writable(path))?;
    }
    Ok(ranks.barrier()?)
}

fn must_be_of_its_name(path: &Path) -> Result<(), CommandError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    match ending.filter(|ending| OTHER_FORMATS.contains(&ending.as_str())) {
        Some(ending) => Err(CommandError::Usage(format!(
            "{}: nothing is written in the format .{ending}: name it for JSON (Lines) or safetensors, plain or ending \
             with .gz or .zst",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Checks that the nearest folder above `path` that exists can be written to.
fn must_be_writable(path: &Path) -> Result<(), CommandError> {
    let mut above =
        path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(folder) = above.find(|folder| folder.symlink_metadata().is_ok()) else { return Ok(()) };
    let denied = |error| Err(CommandError::file(path)(error));
    if !folder.is_dir() {
        return denied(ErrorKind::NotADirectory.into());
    }
    let Ok(name) = CString::new(folder.as_os_str().as_encoded_bytes()) else {
        return denied(ErrorKind::InvalidInput.into());
    };
    // SAFETY: the name ends in NUL and lives for the length of the call.
    match unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => denied(io::Error::last_os_error()),
    }
}

/// Checks that the name of `path` is not that of another format than JSON Lines.
///
/// # Errors
/// [`CommandError::Usage`].
pub fn must_be_lines(path: &Path) -> Result<(), CommandError> {
    let unpacked = unpacked_name(path);
    match unpacked.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "json" | "ndjson") => Ok(()),
        _ => Err(CommandError::Usage(format!(
            "--out {}: rows are written as JSON Lines: give it a name that ends with .jsonl, .jsonl.gz or .jsonl.zst",
            path.display()
        ))),
    }
}

/// Whether `paths[i]` is left from a process that was killed before all of `paths`, which belong together, were
/// finished: it was not, or the last, which is finished last, was not. If files have the same content it is enough that
/// another was about to be put in its place.
fn is_left(paths: &[&Path], i: usize) -> bool {
    let same = |other: &&Path| Some(fs::read(partial_of(other)).ok()? == fs::read(paths[i]).ok()?);
    let last = paths.last().is_some_and(|last| is_interrupted(last));
    last || is_interrupted(paths[i]) || paths[i + 1..].iter().any(|other| same(other) == Some(true))
}

/// Removes those of `paths`, which belong together, that are left from a process that was killed before all of them
/// were finished. Before any of them is written: what says that they are not finished is written anew.
///
/// # Errors
/// [`CommandError::File`].
pub fn remove_left(paths: &[&Path]) -> Result<(), CommandError> {
    for i in 0..paths.len() {
        // The last says it of the others, so it goes last.
        if paths[i].symlink_metadata().is_ok() && is_left(paths, i) {
            fs::remove_file(paths[i]).map_err(CommandError::file(paths[i]))?;
        }
    }
    Ok(())
}

/// Writes `bytes` to each of `paths`.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`].
pub fn write_together(paths: &[&Path], bytes: &[u8]) -> Result<(), CommandError> {
    remove_left(paths)?;
    let mut files: Vec<AtomicFile> = Vec::new();
    for path in paths {
        if files.iter().all(|file| std::path::absolute(file.path()).ok() != std::path::absolute(path).ok()) {
            let mut file = AtomicFile::create(path)?;
            file.write_all(bytes).map_err(CommandError::file(path))?;
            files.push(file);
        }
    }
    commit_together(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_written_over() {
        let (dir, ranks) = (tempfile::tempdir().unwrap(), tercet_cluster::Solo::new());
        must_be_free(&ranks, [dir.path().join("new").as_path()]).unwrap();
        let other = must_be_free(&ranks, [dir.path().join("new.jsonl.bz2").as_path()]).unwrap_err();
        assert!(other.to_string().contains("in the format .bz2"), "{other}");
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
        for name in ["a.jsonl", "a.jsonl.gz", "a.json.zst", "a.jsonl.bz2", "b/a.ndjson"] {
            must_be_lines(Path::new(name)).unwrap();
        }
        for name in ["a.parquet", "a.csv", "-", "a", "a.gz", "a.jsonl.xz"] {
            assert!(must_be_lines(Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn what_a_killed_process_has_put_in_place_is_told_from_what_is_finished() {
        let (dir, ranks) = (tempfile::tempdir().unwrap(), tercet_cluster::Solo::new());
        let [first, second] = ["metrics.json", "figures.json"].map(|name| dir.path().join(name));
        let paths = [first.as_path(), second.as_path()];
        let is_free = || must_be_free(&ranks, paths).is_ok();
        fs::write(&first, "1").unwrap();
        assert!(!is_free(), "somebody's");
        fs::write(partial_of(&second), "2").unwrap();
        assert!(!is_free(), "another command was killed before it put the second in its place");
        fs::write(partial_of(&second), "1").unwrap();
        assert!(is_free(), "this one was killed before");
        fs::hard_link(partial_of(&second), &second).unwrap();
        assert!(is_free(), "or right after");
        fs::remove_file(partial_of(&second)).unwrap();
        assert!(!is_free(), "finished");
        fs::hard_link(&first, partial_of(&first)).unwrap();
        fs::rename(&second, partial_of(&second)).unwrap();
        write_together(&paths, b"3").unwrap();
        assert_eq!(paths.map(|path| fs::read(path).unwrap()), [b"3", b"3"]);
        assert_eq!((is_free(), fs::read_dir(dir.path()).unwrap().count()), (false, 2), "finished");
        let rows = dir.path().join("rows.jsonl");
        let together = [rows.as_path(), second.as_path()];
        fs::write(&rows, "whatever").unwrap();
        fs::hard_link(&second, partial_of(&second)).unwrap();
        assert!(must_be_free(&ranks, together).is_ok(), "the last of them is not finished");
        remove_left(&together).unwrap();
        assert_eq!(together.map(|path| path.exists()), [false; 2]);
        fs::rename(partial_of(&second), &second).unwrap();
        fs::write(&rows, "somebody's").unwrap();
        assert!(must_be_free(&ranks, together).is_err());
        fs::remove_file(&rows).unwrap();
        let error = AtomicFile::create(&first).unwrap().commit().unwrap_err();
        assert!(matches!(error, CommandError::Exists(_)), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        write_together(&[&dir.path().join("same"), &dir.path().join("./same")], b"4").unwrap();
    }
}
