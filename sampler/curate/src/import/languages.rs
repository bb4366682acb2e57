//! Folders of a benchmark, one a language.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::args::Languages;
use crate::error::CurateError;
use crate::output::{Begun, Folder, Origin};

/// The folder of a language's files: `NAME-LANG` in one of `dirs`, or one of `dirs` itself.
pub fn folder_of(dirs: &[PathBuf], prefix: &str, language: &str) -> Option<PathBuf> {
    let name = format!("{prefix}{language}");
    let itself = dirs.iter().find(|dir| dir.file_name().is_some_and(|own| *own == *name)).cloned();
    itself.or_else(|| dirs.iter().map(|dir| dir.join(&name)).find(|dir| dir.is_dir()))
}

/// The languages that are asked for, or all that `dirs` have a folder of.
///
/// # Errors
/// There are none.
pub fn chosen(args: &Languages, dirs: &[PathBuf], prefix: &str) -> Result<Vec<String>, CurateError> {
    if !args.lang.is_empty() {
        return Ok(args.lang.clone());
    }
    let mut found = BTreeSet::new();
    for dir in dirs {
        let entries = fs::read_dir(dir).map_err(CurateError::io(dir))?;
        let below = entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
        let names = dir.file_name().map(ToOwned::to_owned).into_iter().chain(below);
        let language = |name: std::ffi::OsString| name.to_str()?.strip_prefix(prefix).map(str::to_owned);
        found.extend(names.filter_map(language));
    }
    match found.is_empty() {
        true => {
            let dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            Err(CurateError::Usage(format!("{}: no folder {prefix}LANG there", dirs.join(", "))))
        }
        false => Ok(found.into_iter().collect()),
    }
}

/// Writes the folder of one language by `write`, unless it is there, and returns what to say of it.
///
/// # Errors
/// There is another one, or `write`'s.
pub fn write(
    out: &Path,
    language: &str,
    origin: Origin,
    write: impl FnOnce(&Folder) -> Result<String, CurateError>,
) -> Result<String, CurateError> {
    let dir = out.join(language);
    match Folder::begin(&dir, origin)? {
        Begun::IsThere => Ok(format!("{}: was there already, of the same files", dir.display())),
        Begun::New(folder) => {
            let said = write(&folder)?;
            folder.finish()?;
            Ok(format!("{}: {said}", dir.display()))
        }
    }
}
