//! The one reader of files that hold an object a row: JSON Lines (plain or packed), Parquet or Arrow.
//!
//! The first bytes of a file decide its format, except for lines of a text that is not JSON, which only a name can
//! tell. What the objects mean is decided by who reads them: [`crate::RowReader`] for training rows,
//! [`for_each_object`] for all others.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use crate::columns::json::{fields, object};
use crate::columns::{ColumnReader, files_of};
use crate::error::RowError;
use crate::lines::{CountingFile, LineReader, LinesOf, utf8};
use crate::place::{Place, ReadAt};

/// Reads a file's records in order.
#[derive(Debug)]
pub(crate) enum Records {
    Lines(LineReader),
    Columns(ColumnReader),
}

/// One record.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// A line, of JSON or of text, which is not blank.
    Line(Vec<u8>),
    /// The row with this index in a batch of columns.
    Columns(&'a RecordBatch, usize),
}

/// A record's number, from 1, and the record, or what became of it, or why it cannot be used.
pub(crate) type Numbered<T> = (u64, Result<T, String>);

impl Records {
    /// Opens `path`, whose lines, if it has lines, are objects. Only columns are decoded whose name is
    /// `wanted`. The bytes read from the file, counted as stored on disk, are added to `bytes_read`.
    pub(crate) fn open(
        path: &Path,
        bytes_read: Arc<AtomicU64>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self, RowError> {
        Self::open_of(path, LinesOf::Objects, bytes_read, wanted)
    }

    /// As [`open`](Self::open), with lines of either kind.
    pub(crate) fn open_of(
        path: &Path,
        lines_of: LinesOf,
        bytes_read: Arc<AtomicU64>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Self, RowError> {
        let opening = |source| RowError::Open { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(opening)?;
        let mut first_bytes = [0; 6];
        let read = read_up_to(&mut file, &mut first_bytes).map_err(opening)?;
        // A shorter file does not hold columns.
        if let Some(reader) = ColumnReader::open(path, &file, first_bytes, bytes_read.clone(), wanted)? {
            return Ok(Self::Columns(reader));
        }
        // A pipe cannot be read from its beginning again, so the first bytes are put back in front.
        bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        let whole = Cursor::new(first_bytes[..read].to_vec()).chain(CountingFile { file, bytes_read });
        Ok(Self::Lines(LineReader::over(path, whole, lines_of)?))
    }

    /// The next record; None at the end and after an error.
    pub(crate) fn next(&mut self) -> Result<Option<Numbered<Record<'_>>>, RowError> {
        match self {
            Self::Lines(reader) => {
                let mut line = Vec::new();
                let mut read = reader.read_line(&mut line);
                while matches!(read, Ok(Some(_))) && is_blank(&line) {
                    read = reader.read_line(&mut line);
                }
                match read {
                    Ok(Some(number)) => Ok(Some((number, Ok(Record::Line(line))))),
                    Ok(None) => Ok(None),
                    Err(RowError::Line { line, reason, .. }) => Ok(Some((line, Err(reason)))),
                    Err(e) => Err(e),
                }
            }
            Self::Columns(reader) => {
                let next = reader.next()?;
                Ok(next.map(|(number, batch, i)| (number, Ok(Record::Columns(batch, i)))))
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

    /// The columns of the file, if it has columns.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        match self {
            Self::Lines(_) => None,
            Self::Columns(reader) => Some(reader.schema()),
        }
    }
}

/// Calls `visit` with each object that `path` holds, as a line of JSON, and where it was read. `path` is a file, or a
/// folder of Hugging Face `datasets`.
///
/// A row of columns is put into JSON. Columns other than those `used` are not decoded, and are null there.
///
/// # Errors
/// The files cannot be read or are evidently others, a line is not UTF-8, or `visit` refuses one by giving a reason.
pub fn for_each_object(
    path: &Path,
    used: &[&str],
    mut visit: impl FnMut(&ReadAt, &str) -> Result<(), String>,
) -> Result<(), RowError> {
    for file in files_of(path)? {
        let is_used = |name: &str| used.contains(&name);
        let mut records = Records::open(&file, Arc::default(), &is_used)?;
        let unused: Vec<String> = match records.schema() {
            Some(schema) => schema.fields().iter().map(|field| field.name().clone()).filter(|n| !is_used(n)).collect(),
            None => Vec::new(),
        };
        let (place, path) = (records.place(), Arc::from(file));
        while let Some((number, record)) = records.next()? {
            let at = ReadAt::new(&path, place, number);
            let visited = record.and_then(|record| match record {
                Record::Line(line) => visit(&at, utf8(&line)?),
                Record::Columns(batch, i) => {
                    let null = unused.iter().map(|name| (name.clone(), "null".to_owned()));
                    visit(&at, &object(fields(batch, i)?.into_iter().chain(null)))
                }
            });
            visited.map_err(|reason| at.error(reason))?;
        }
    }
    Ok(())
}

/// Whether `path` is, by its name, read as objects: JSON Lines, or columns, or a folder of them.
pub fn is_of_objects(path: &Path) -> bool {
    let of_lines = matches!(ending(crate::lines::unpacked_name(path)).as_deref(), Some("jsonl" | "json" | "ndjson"));
    of_lines || path.is_dir() || matches!(ending(path.to_owned()).as_deref(), Some("parquet" | "arrow" | "feather"))
}

/// Checks that the lines of `path` can be texts. By its name it may be a table, whose header, ids and separators would
/// become part of them.
///
/// # Errors
/// It is one.
pub fn must_be_texts(path: &Path) -> Result<(), RowError> {
    let Some(ending) = ending(crate::lines::unpacked_name(path)) else { return Ok(()) };
    if !matches!(ending.as_str(), "csv" | "tsv" | "tab") {
        return Ok(());
    }
    let reason = format!(
        "a table, by its name (.{ending}), of which each line would be a text, with the header and every column: write it \
         as .jsonl or .parquet with a \"text\", or name it .txt if each line is a text"
    );
    Err(RowError::Foreign { path: path.to_owned(), reason })
}

/// How the name ends, in small letters.
fn ending(path: PathBuf) -> Option<String> {
    path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase)
}

/// Whether the line is nothing but white space, of any script.
fn is_blank(line: &[u8]) -> bool {
    let rest = line.trim_ascii_start();
    let is_ascii = |byte: &u8| byte.is_ascii();
    rest.is_empty() || !rest.first().is_some_and(is_ascii) && str::from_utf8(rest).is_ok_and(|t| t.trim().is_empty())
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
