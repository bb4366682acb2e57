//! Compiled kernels between runs: a file for each text, card and compiler, in the user's cache folder.
//!
//! A file that is damaged counts as none, and nothing depends on there being one.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the checksum that a file begins with. The driver finds the end of kernels by what stands in them, so it
/// must not be given less than all.
const CHECKSUM_BYTES: usize = blake3::OUT_LEN;

/// The file for kernels that follow from these `inputs`; none where the user has no cache folder.
pub fn file(inputs: &[&str]) -> Option<PathBuf> {
    let is_set = |value: &std::ffi::OsString| !value.is_empty();
    let base = env::var_os("XDG_CACHE_HOME").filter(is_set).map(PathBuf::from);
    let base = base.or_else(|| Some(Path::new(&env::var_os("HOME").filter(is_set)?).join(".cache")))?;
    let mut hash = blake3::Hasher::new();
    for input in inputs {
        hash.update(&(input.len() as u64).to_le_bytes()).update(input.as_bytes());
    }
    Some(base.join("tercet/kernels").join(format!("{}.cubin", &hash.finalize().to_hex()[..32])))
}

/// What is kept there.
pub fn read(file: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(file).ok().filter(|bytes| bytes.len() > CHECKSUM_BYTES)?;
    let kernels = bytes.split_off(CHECKSUM_BYTES);
    (blake3::hash(&kernels).as_bytes()[..] == bytes[..]).then_some(kernels)
}

/// Keeps `kernels` there. Others see all of the file or none.
///
/// # Errors
/// The file system's.
pub fn write(file: &Path, kernels: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut unfinished = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut unfinished, blake3::hash(kernels).as_bytes())?;
    io::Write::write_all(&mut unfinished, kernels)?;
    unfinished.persist(file).map(|_| ()).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_is_read_again_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b.cubin");
        assert_eq!(read(&file), None);
        write(&file, b"kernels").unwrap();
        assert_eq!(read(&file).unwrap(), b"kernels");
        let whole = fs::read(&file).unwrap();
        for damaged in [&whole[..whole.len() - 1], &whole[..10], b"", &[&whole[..], b"!"].concat()] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(read(&file), None);
        }
        write(&file, b"others").unwrap();
        assert_eq!(read(&file).unwrap(), b"others");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
