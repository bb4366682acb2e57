//! Training rows as `tercet prepare` reads them, and what was left out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::file::WholeFile;
use crate::error::CurateError;

/// A row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What is asked.
    pub query: String,
    /// What answers it.
    pub pos: Vec<String>,
    /// What does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub neg: Vec<String>,
}

/// The rows of one file.
pub struct Rows {
    path: PathBuf,
    file: WholeFile,
    written: u64,
    left_out: BTreeMap<&'static str, u64>,
}

impl Rows {
    /// Begins the file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(path: &Path) -> Result<Self, CurateError> {
        Ok(Self { path: path.to_owned(), file: WholeFile::create(path)?, written: 0, left_out: BTreeMap::new() })
    }

    /// Writes a row. Texts that are blank, negatives that are the query or a positive, and what comes twice are left
    /// out; and the row, if its query or all of its positives are.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&mut self, row: Row) -> Result<(), CurateError> {
        let Row { query, pos, neg } = row;
        if query.trim().is_empty() {
            self.leave_out("rows whose query has no text", 1);
            return Ok(());
        }
        let mut kept: Vec<String> = Vec::with_capacity(pos.len());
        for text in pos {
            if !text.trim().is_empty() && !kept.contains(&text) {
                kept.push(text);
            }
        }
        if kept.is_empty() {
            self.leave_out("rows without a positive that has text", 1);
            return Ok(());
        }
        let (mut negatives, all): (Vec<String>, usize) = (Vec::with_capacity(neg.len()), neg.len());
        for text in neg {
            if !text.trim().is_empty() && text != query && !kept.contains(&text) && !negatives.contains(&text) {
                negatives.push(text);
            }
        }
        let lost = all - negatives.len();
        if lost > 0 {
            self.leave_out("negatives without text, or with that of another text of their row", lost as u64);
        }
        self.file.object(&Row { query, pos: kept, neg: negatives })?;
        self.written += 1;
        Ok(())
    }

    /// Whether no row was written.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Counts what is left out, in words that follow a number.
    pub fn leave_out(&mut self, what: &'static str, count: u64) {
        if count > 0 {
            *self.left_out.entry(what).or_default() += count;
        }
    }

    /// Completes the file, and says what it holds.
    ///
    /// # Errors
    /// No row was written. The operating system's.
    pub fn finish(self) -> Result<String, CurateError> {
        let left_out: Vec<String> = self.left_out.iter().map(|(what, count)| format!("{count} {what}")).collect();
        if self.written == 0 {
            let all = if left_out.is_empty() { "the input is empty".into() } else { left_out.join(", ") };
            return Err(CurateError::data(&self.path, format!("not written, as it would have no row: {all}")));
        }
        self.file.finish()?;
        let mut said = format!("{}: {} rows", self.path.display(), self.written);
        for what in left_out {
            // Writing to a string does not fail.
            _ = write!(said, "\nleft out: {what}");
        }
        Ok(said)
    }
}
