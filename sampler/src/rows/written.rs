//! Rows with everything that they hold, for whoever writes them again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::row_of;
use super::keys::NearKey;
use super::parse::parse_row;
use super::row::Row;
use super::source::near_columns;
use crate::columns::{files_of, json};
use crate::error::RowError;
use crate::lines::{json_fields, utf8};
use crate::place::ReadAt;
use crate::records::{Record, Records};

/// A row, and all its fields as they are written.
#[derive(Debug)]
pub struct WrittenRow {
    /// Where it was read.
    pub at: ReadAt,
    /// What training reads of it.
    pub row: Row,
    /// Names and values in JSON, in their order. A column that is null is left out.
    pub fields: Vec<(String, String)>,
}

impl WrittenRow {
    /// The row on one line of JSON.
    ///
    /// # Errors
    /// The line is not a row. The error is the reason alone; the caller adds file and line.
    pub fn of_line(at: ReadAt, line: &[u8]) -> Result<Self, String> {
        let row = parse_row(line)?;
        let fields = json_fields(utf8(line)?).into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Ok(Self { at, row, fields })
    }

    /// All rows of `path`, as [`WrittenRows`] gives them.
    ///
    /// # Errors
    /// A file or a row cannot be used, or JSON has no form for a value.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, RowError> {
        WrittenRows::open(path)?.collect()
    }
}

/// Reads the rows of `path` in order: a file of any format that [`crate::RowReader`] reads, or a folder of Hugging Face
/// `datasets`. After an error nothing follows.
#[derive(Debug)]
pub struct WrittenRows {
    files: std::vec::IntoIter<PathBuf>,
    open: Option<OpenFile>,
}

/// A file that is being read.
#[derive(Debug)]
struct OpenFile {
    path: Arc<Path>,
    records: Records,
    near_keys: Vec<NearKey>,
}

impl WrittenRows {
    /// Finds the files; each is opened when it is its turn.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn open(path: &Path) -> Result<Self, RowError> {
        Ok(Self { files: files_of(path)?.into_iter(), open: None })
    }

    fn read(&mut self) -> Result<Option<WrittenRow>, RowError> {
        loop {
            if self.open.is_none() {
                let Some(file) = self.files.next() else { return Ok(None) };
                let records = Records::open(&file, Arc::default(), &|_| true)?;
                let near_keys = near_columns(&file, &records)?;
                self.open = Some(OpenFile { path: Arc::from(file), records, near_keys });
            }
            let Some(OpenFile { path, records, near_keys }) = &mut self.open else { return Ok(None) };
            let place = records.place();
            let Some((number, record)) = records.next()? else {
                self.open = None;
                continue;
            };
            let at = ReadAt::new(path, place, number);
            let row = record.and_then(|record| match record {
                Record::Line(line) => WrittenRow::of_line(at.clone(), &line),
                Record::Columns(batch, i) => {
                    let row = row_of(batch, i, near_keys)?;
                    let fields = json::fields(batch, i)?.into_iter().filter(|(_, value)| value != "null").collect();
                    Ok(WrittenRow { at: at.clone(), row, fields })
                }
            });
            return row.map(Some).map_err(|reason| at.error(reason));
        }
    }
}

impl Iterator for WrittenRows {
    type Item = Result<WrittenRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            (self.open, self.files) = (None, Vec::new().into_iter());
        }
        read.transpose()
    }
}
