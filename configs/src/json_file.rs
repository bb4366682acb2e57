//! Reads the small JSON files of a model's folder, with errors that say what a file evidently is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::text::in_another_encoding;

/// A file or folder of a model that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ModelFolderError {
    /// The file or the folder.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub reason: String,
}

impl ModelFolderError {
    /// The error that `path` cannot be used for `reason`.
    pub fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}

/// The beginnings of the pointers that `git lfs` leaves in place of files that it has not fetched; the second is its
/// former name.
const LFS_POINTERS: [&[u8]; 2] =
    [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];

/// Tells from the first bytes what is in a file's place: nothing, a Git LFS pointer or a web page. None if it may be
/// the file itself.
pub fn in_its_place(head: &[u8]) -> Option<&'static str> {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if head.is_empty() {
        Some("is empty: fetch it again")
    } else if LFS_POINTERS.iter().any(|begin| begins(begin)) {
        Some("is a Git LFS pointer and not the file itself: run `git lfs pull` in its repository")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some("is a web page that was saved instead of the file: download the file itself")
    } else {
        None
    }
}

/// Why `path` cannot be opened or read: the operating system's reason, or that it is a link to a missing file.
pub fn unreadable(path: &Path, error: &std::io::Error) -> String {
    match path.read_link() {
        Ok(to) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("is a link to {}, and nothing is there: fetch it again", to.display())
        }
        _ => error.to_string(),
    }
}

/// The JSON value in `path`.
///
/// # Errors
/// The file cannot be read, or is not JSON.
pub(crate) fn read_json(path: &Path) -> Result<Value, ModelFolderError> {
    let fail = |reason: String| ModelFolderError { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|e| fail(unreadable(path, &e)))?;
    if let Some(instead) = in_its_place(&bytes) {
        return Err(fail(instead.into()));
    }
    if let Some(encoding) = in_another_encoding(&bytes) {
        return Err(fail(format!("is {encoding}")));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    serde_json::from_slice(text).map_err(|e| fail(format!("is not JSON: {e}")))
}

/// The JSON value in `path`; none if there is no such file.
///
/// # Errors
/// The file cannot be read, or is not JSON.
pub fn read_json_if_there(path: &Path) -> Result<Option<Value>, ModelFolderError> {
    if is_there(path) { read_json(path).map(Some) } else { Ok(None) }
}

/// Whether something is at `path`, or may be there, where that may not be asked: opening it says so. A dangling link
/// counts as existing.
pub(crate) fn is_there(path: &Path) -> bool {
    let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory];
    path.symlink_metadata().err().is_none_or(|error| !absent.contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_files_place_is_said() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
        assert!(in_its_place(pointer).unwrap().contains("git lfs pull"));
        assert!(in_its_place(b"\n<!DOCTYPE html><html>").unwrap().contains("web page"));
        assert!(in_its_place(b"").unwrap().contains("empty"));
        assert_eq!(in_its_place(b"{\"version\": 1}"), None);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert!(read_json_if_there(&path).unwrap().is_none());
        std::fs::write(&path, "\u{feff}{\"a\": 1}").unwrap();
        assert_eq!(read_json(&path).unwrap()["a"], 1);
    }

    #[test]
    fn text_in_another_encoding_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let utf_16: Vec<u8> = "\u{feff}{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(&path, utf_16).unwrap();
        let said = read_json(&path).unwrap_err().to_string();
        assert!(said.contains("config.json: is UTF-16 text: UTF-8 is expected, `iconv"), "{said}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modules.json");
        std::os::unix::fs::symlink(dir.path().join("blob"), &path).unwrap();
        assert!(read_json_if_there(&path).unwrap_err().to_string().contains("is a link to"));
    }
}
