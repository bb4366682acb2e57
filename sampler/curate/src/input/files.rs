//! The files that patterns name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::error::CurateError;

/// `*` does not cross folders, and does not find what is hidden.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What is below `base` and `named`, by paths or patterns, each once and in the order of their paths. What a pattern
/// matches must be `wanted`.
///
/// # Errors
/// What `wrong` makes of the reason if a path is not there, or a pattern matches nothing or is none. The operating
/// system's.
pub fn matching(
    base: &Path,
    named: &[String],
    wanted: impl Fn(&Path) -> bool,
    wrong: impl Fn(String) -> CurateError,
) -> Result<Vec<PathBuf>, CurateError> {
    let mut files = Vec::new();
    for name in named {
        let path = base.join(name);
        // A file may be called what looks like a pattern.
        if path.exists() {
            files.push(path);
            continue;
        }
        let before = files.len();
        let pattern = match Path::new(name).is_absolute() {
            true => name.clone(),
            false => Path::new(&Pattern::escape(&base.to_string_lossy())).join(name).to_string_lossy().into_owned(),
        };
        let found = glob::glob_with(&pattern, OPTIONS).map_err(|e| wrong(format!("{name:?} is no pattern: {e}")))?;
        for path in found {
            let path = path.map_err(|e| CurateError::Io { path: e.path().to_owned(), source: e.into() })?;
            if wanted(&path) {
                files.push(path);
            }
        }
        if files.len() == before {
            let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
            return Err(wrong(format!("{name:?} matches no file in {}", base.display())));
        }
    }
    files.sort();
    // A file may be named in several ways.
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    Ok(files)
}
