//! Reads Parquet and Arrow files, which have a column for each field.
//!
//! Arrow files may have the file or the stream format; Hugging Face `datasets` writes the latter. Columns that nobody
//! asks for are not decoded.

mod folder;
pub(crate) mod json;
pub(crate) mod values;

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::RowError;
use crate::guarded::guarded;
use crate::lines::CountingFile;
pub(crate) use folder::files_of;

/// The number of Parquet rows that are decoded together.
const ROWS_PER_BATCH: usize = 1024;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Whether the column of this name is decoded.
type Wanted<'a> = &'a dyn Fn(&str) -> bool;

/// A file's columns, and their rows.
struct Opened {
    schema: SchemaRef,
    batches: Batches,
}

/// Reads the rows of one file.
pub(crate) struct ColumnReader {
    path: PathBuf,
    format: &'static str,
    /// All columns, also those that are not decoded.
    schema: SchemaRef,
    /// None after an error or the end.
    batches: Option<Batches>,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    next: usize,
    /// The number of rows read.
    row: u64,
}

impl ColumnReader {
    /// Opens the file; None if its first bytes are of another format.
    pub(crate) fn open(
        path: &Path,
        file: &File,
        first_bytes: [u8; 6],
        bytes_read: Arc<AtomicU64>,
        wanted: Wanted<'_>,
    ) -> Result<Option<Self>, RowError> {
        let opener = match &first_bytes {
            b"ARROW1" => open_arrow_file,
            [0xff, 0xff, 0xff, 0xff, ..] => open_arrow_stream,
            [b'P', b'A', b'R', b'1', ..] => open_parquet,
            _ => return Ok(None),
        };
        let format = if first_bytes.starts_with(b"PAR1") { "Parquet" } else { "Arrow" };
        let reopened = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
        let file = reopened.map_err(|source| RowError::Open { path: path.to_owned(), source })?;
        let opened = guarded(|| opener(file, bytes_read, wanted)).map_err(|e| unreadable(path, format, 0, &e))?;
        let Opened { schema, batches } = opened;
        let (path, batches) = (path.to_owned(), Some(batches));
        Ok(Some(Self { path, format, schema, batches, batch: None, next: 0, row: 0 }))
    }

    /// All columns of the file, also those that are not decoded.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The next row: its number, from 1, and the batch that has it, with its place there.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, &RecordBatch, usize)>, RowError> {
        if !self.has_row()? {
            return Ok(None);
        }
        self.next += 1;
        self.row += 1;
        Ok(self.batch.as_ref().map(|batch| (self.row, batch, self.next - 1)))
    }

    /// Skips everything up to and including row `number`.
    pub(crate) fn skip_to(&mut self, number: u64) -> Result<(), RowError> {
        while self.row < number && self.has_row()? {
            let left = self.batch.as_ref().map_or(0, |batch| batch.num_rows() - self.next);
            let skipped = left.min((number - self.row) as usize);
            self.next += skipped;
            self.row += skipped as u64;
        }
        Ok(())
    }

    /// Makes sure that the batch has a next row; false at the end.
    fn has_row(&mut self) -> Result<bool, RowError> {
        while self.batch.as_ref().is_none_or(|batch| self.next >= batch.num_rows()) {
            let Some(batches) = &mut self.batches else { return Ok(false) };
            match guarded(|| batches.next().transpose().map_err(|e| e.to_string())) {
                Ok(Some(batch)) => (self.batch, self.next) = (Some(batch), 0),
                Ok(None) => (self.batches, self.batch) = (None, None),
                Err(reason) => {
                    (self.batches, self.batch) = (None, None);
                    return Err(unreadable(&self.path, self.format, self.row, &reason));
                }
            }
        }
        Ok(true)
    }
}

impl fmt::Debug for ColumnReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnReader").field("path", &self.path).field("row", &self.row).finish_non_exhaustive()
    }
}

fn unreadable(path: &Path, format: &str, row: u64, reason: &str) -> RowError {
    // The decoders' words for a good file in a format variant that they do not support.
    if ["Disabled feature", "not supported", "NYI", "not yet implemented"].iter().any(|words| reason.contains(words)) {
        let reason = format!("{format} written in a way that is not read here ({reason}): write it again, with zstd");
        return RowError::Columns { path: path.to_owned(), reason };
    }
    let reason = format!("not valid {format} data, or cut off: {reason}");
    RowError::ReadColumns { path: path.to_owned(), row, reason }
}

fn open_parquet(mut file: File, bytes_read: Arc<AtomicU64>, wanted: Wanted<'_>) -> Result<Opened, String> {
    let bytes = file.seek(std::io::SeekFrom::End(0)).map_err(|e| e.to_string())?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let schema = builder.schema().clone();
    let wanted = projection(&schema, wanted);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let num_rows = builder.metadata().file_metadata().num_rows().max(1) as u64;
    let reader = builder.with_batch_size(ROWS_PER_BATCH).with_projection(mask).build().map_err(|e| e.to_string())?;
    // The reader reads in any order, so progress is estimated from its rows.
    let mut rows_read = 0;
    let batches = reader.inspect(move |batch| {
        let before = rows_read;
        rows_read = (rows_read + batch.as_ref().map_or(0, RecordBatch::num_rows) as u64).min(num_rows);
        let bytes_at = |rows: u64| (u128::from(bytes) * u128::from(rows) / u128::from(num_rows)) as u64;
        bytes_read.fetch_add(bytes_at(rows_read) - bytes_at(before), Ordering::Relaxed);
    });
    Ok(Opened { schema, batches: Box::new(batches) })
}

fn open_arrow_file(file: File, bytes_read: Arc<AtomicU64>, wanted: Wanted<'_>) -> Result<Opened, String> {
    let file = BufReader::new(CountingFile { file, bytes_read });
    let reader = FileReader::try_new(file, None).map_err(|e| e.to_string())?;
    let schema = reader.schema();
    let wanted = projection(&schema, wanted);
    Ok(Opened { schema, batches: Box::new(reader.map(move |batch| batch?.project(&wanted))) })
}

fn open_arrow_stream(file: File, bytes_read: Arc<AtomicU64>, wanted: Wanted<'_>) -> Result<Opened, String> {
    let file = BufReader::new(CountingFile { file, bytes_read });
    let reader = StreamReader::try_new(file, None).map_err(|e| e.to_string())?;
    let schema = reader.schema();
    let wanted = projection(&schema, wanted);
    Ok(Opened { schema, batches: Box::new(reader.map(move |batch| batch?.project(&wanted))) })
}

/// The indices of the columns that are decoded.
fn projection(schema: &Schema, wanted: Wanted<'_>) -> Vec<usize> {
    (0..).zip(schema.fields()).filter(|(_, field)| wanted(field.name())).map(|(i, _)| i).collect()
}
