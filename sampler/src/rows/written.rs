//! Rows with everything that they hold, for who writes them again.

use std::path::Path;
use std::sync::Arc;

use super::fields::row_of;
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

    /// All rows of `path`, in order: a file of any format that [`crate::RowReader`] reads, or a folder of Hugging Face
    /// `datasets`.
    ///
    /// # Errors
    /// A file or a row cannot be used, or JSON has no form for a value.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, RowError> {
        let mut rows = Vec::new();
        for file in files_of(path)? {
            let mut records = Records::open(&file, Arc::default(), &|_| true)?;
            let near_keys = near_columns(&file, &records)?;
            let (place, path) = (records.place(), Arc::from(file));
            while let Some((number, record)) = records.next()? {
                let at = ReadAt::new(&path, place, number);
                let row = record.and_then(|record| match record {
                    Record::Line(line) => Self::of_line(at.clone(), &line),
                    Record::Columns(batch, i) => {
                        let row = row_of(batch, i, &near_keys)?;
                        let fields = json::fields(batch, i)?.into_iter().filter(|(_, value)| value != "null").collect();
                        Ok(Self { at: at.clone(), row, fields })
                    }
                });
                rows.push(row.map_err(|reason| at.error(reason))?);
            }
        }
        Ok(rows)
    }
}
