//! One file of rows; its first bytes decide its format.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::columns::ColumnReader;
use super::{Row, parse_row};
use crate::error::RowError;
use crate::lines::{CountingFile, LineReader, LinesOf};

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

    /// The approximate number of bytes of the row's text.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Line(line) => line.len(),
            Self::Row(row) => [&row.query].into_iter().chain(&row.pos).chain(&row.neg).map(String::len).sum(),
        }
    }
}

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

/// Reads a file's rows in order.
#[derive(Debug)]
pub(crate) enum RowSource {
    Lines(LineReader),
    Columns(ColumnReader),
}

/// A row's number, and the row or why it cannot be used.
pub(crate) type Numbered = (u64, Result<RawRow, String>);

impl RowSource {
    /// Opens `path`. The bytes read from it, counted as stored on disk, are added to `bytes_read`.
    pub(crate) fn open(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Self, RowError> {
        let opening = |source| RowError::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(opening)?;
        let mut first_bytes = [0; 6];
        let read = read_up_to(&mut file, &mut first_bytes).map_err(opening)?;
        // A shorter file does not hold columns.
        if let Some(reader) = ColumnReader::open(path, &file, first_bytes, bytes_read.clone())? {
            return Ok(Self::Columns(reader));
        }
        // A pipe cannot be read from its beginning again, so the first bytes are put back in front.
        bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        let whole = Cursor::new(first_bytes[..read].to_vec()).chain(CountingFile { file, bytes_read });
        Ok(Self::Lines(LineReader::over(path, whole, LinesOf::Objects)?))
    }

    /// The next row; None at the end and after an error.
    pub(crate) fn next(&mut self) -> Result<Option<Numbered>, RowError> {
        match self {
            Self::Lines(reader) => {
                let mut line = Vec::new();
                let mut read = reader.read_line(&mut line);
                while matches!(read, Ok(Some(_))) && line.trim_ascii().is_empty() {
                    read = reader.read_line(&mut line);
                }
                match read {
                    Ok(Some(number)) => Ok(Some((number, Ok(RawRow::Line(line))))),
                    Ok(None) => Ok(None),
                    Err(RowError::Line { line, reason, .. }) => Ok(Some((line, Err(reason)))),
                    Err(e) => Err(e),
                }
            }
            Self::Columns(reader) => {
                let next = reader.next()?;
                Ok(next.map(|(number, row)| (number, row.map(RawRow::Row))))
            }
        }
    }

    /// Skips everything up to and including row or line `number`.
    pub(crate) fn skip_to(&mut self, number: u64) -> Result<(), RowError> {
        match self {
            Self::Lines(reader) => reader.skip_to(number),
            Self::Columns(reader) => reader.skip_to(number),
        }
    }

    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Lines(_) => Place::Line,
            Self::Columns(_) => Place::Row,
        }
    }
}

/// Fills `buffer` as far as the file goes, in as many reads as a pipe needs.
fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}
