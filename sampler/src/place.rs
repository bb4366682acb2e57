//! Where in a file a row, or a text, was read.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::error::RowError;

/// How messages number a row in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the line's number, from 1.
    Line,
    /// By the row's number, from 1.
    Row,
}

impl Place {
    /// The place of row or line `number` of the file at `path`, in words.
    pub(crate) fn named(self, path: &Path, number: u64) -> String {
        match self {
            Self::Line => format!("{}:{number}", path.display()),
            Self::Row => format!("{}: row {number}", path.display()),
        }
    }

    /// The error for a row that is wrong for `reason`.
    pub(crate) fn error(self, path: &Path, number: u64, reason: String) -> RowError {
        let path = path.to_owned();
        match self {
            Self::Line => RowError::Line { path, line: number, reason },
            Self::Row => RowError::Row { path, row: number, reason },
        }
    }
}

/// The line, or the row of columns, that something was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt {
    path: Arc<Path>,
    place: Place,
    number: u64,
}

impl ReadAt {
    /// Line `number`, from 1, of the file at `path`.
    pub fn line(path: &Arc<Path>, number: u64) -> Self {
        Self::new(path, Place::Line, number)
    }

    /// Row, or record, `number`, from 1, of the file at `path`.
    pub fn row(path: &Arc<Path>, number: u64) -> Self {
        Self::new(path, Place::Row, number)
    }

    pub(crate) fn new(path: &Arc<Path>, place: Place, number: u64) -> Self {
        Self { path: path.clone(), place, number }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The error for what is wrong there.
    pub fn error(&self, reason: String) -> RowError {
        self.place.error(&self.path, self.number, reason)
    }
}

/// As messages name it: `FILE:LINE`, or `FILE: row NUMBER`.
impl fmt::Display for ReadAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.named(&self.path, self.number))
    }
}
