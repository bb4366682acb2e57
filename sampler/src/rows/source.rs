//! The training rows of one file, and what its readers have in common with those of texts alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::fields::row_of;
use super::keys::{NearKey, is_looked_at};
use super::parse::parse_row;
use super::row::Row;
use super::schema::check_columns;
use crate::error::RowError;
use crate::place::Place;
use crate::records::{Numbered, Record, Records};

/// What a file is read as: rows, or texts alone.
pub(crate) trait RecordSource: Sized {
    /// One of them, read but perhaps not yet parsed.
    type Raw: Send;

    /// Opens `path`. The bytes read from it, counted as stored on disk, are added to `bytes_read`.
    fn open(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Self, RowError>;

    /// The next one; None at the end and after an error.
    fn next(&mut self) -> Result<Option<Numbered<Self::Raw>>, RowError>;

    /// Skips everything up to and including row or line `number`.
    fn skip_to(&mut self, number: u64) -> Result<(), RowError>;

    /// How they are numbered.
    fn place(&self) -> Place;

    /// The approximate number of bytes of the text in one.
    fn len(raw: &Self::Raw) -> usize;
}

/// A row that is read but perhaps not yet parsed, so that threads can share the parsing.
#[derive(Debug)]
pub(crate) enum RawRow {
    /// A line of JSON.
    Line(Vec<u8>),
    /// A row of columns.
    Row(Row),
}

impl RawRow {
    /// The row. The error is the reason alone.
    pub(crate) fn into_row(self) -> Result<Row, String> {
        match self {
            Self::Line(line) => parse_row(&line),
            Self::Row(row) => Ok(row),
        }
    }
}

/// Reads a file's rows in order.
#[derive(Debug)]
pub(crate) struct RowSource {
    records: Records,
    /// Ignored columns that are nearly those of rows, for rows that lack ours.
    near_keys: Vec<NearKey>,
}

impl RecordSource for RowSource {
    type Raw = RawRow;

    fn open(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Self, RowError> {
        let records = Records::open(path, bytes_read, &is_looked_at)?;
        let near_keys = near_columns(path, &records)?;
        Ok(Self { records, near_keys })
    }

    fn next(&mut self) -> Result<Option<Numbered<RawRow>>, RowError> {
        let near_keys = &self.near_keys;
        let raw_row = |record| match record {
            Record::Line(line) => Ok(RawRow::Line(line)),
            Record::Columns(batch, i) => row_of(batch, i, near_keys).map(RawRow::Row),
        };
        Ok(self.records.next()?.map(|(number, record)| (number, record.and_then(raw_row))))
    }

    fn skip_to(&mut self, number: u64) -> Result<(), RowError> {
        self.records.skip_to(number)
    }

    fn place(&self) -> Place {
        self.records.place()
    }

    fn len(raw: &RawRow) -> usize {
        match raw {
            RawRow::Line(line) => line.len(),
            RawRow::Row(row) => [&row.query].into_iter().chain(&row.pos).chain(&row.neg).map(String::len).sum(),
        }
    }
}

/// The columns of the file at `path` that are nearly those of rows; none if it has lines.
///
/// # Errors
/// The columns are not those of rows.
pub(super) fn near_columns(path: &Path, records: &Records) -> Result<Vec<NearKey>, RowError> {
    let near = records.schema().map_or(Ok(Vec::new()), check_columns);
    near.map_err(|reason| RowError::Columns { path: path.to_owned(), reason })
}
