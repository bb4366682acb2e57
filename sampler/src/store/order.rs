//! The order by length of a data set: `by_length.arrow` and `shapes.arrow`, written.
//!
//! Rows are ordered by shape, longest text first in the comparison, and by number among equals.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt32Type, UInt64Type};
use arrow_array::{RecordBatch, UInt32Array, UInt64Array};
use arrow_buffer::ScalarBuffer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::durable::DurableFile;
use super::manifest::FileMeta;
use super::mapped::FromBatch;
use super::shapes::{OwnedShape, SHAPES_PER_BATCH, Shapes, ShapesBuilder};
use crate::error::StoreError;

/// Entries in a record batch of `by_length.arrow`; the last has the rest.
pub(super) const ENTRIES_PER_BATCH: usize = 1 << 20;

/// Row numbers and checksums of one record batch.
#[derive(Debug)]
pub(super) struct Entries {
    rows: ScalarBuffer<u64>,
    checks: ScalarBuffer<u32>,
}

impl Entries {
    /// The row number and checksum at `i`.
    pub(super) fn get(&self, i: usize) -> Option<(u64, u32)> {
        Some((*self.rows.get(i)?, *self.checks.get(i)?))
    }
}

impl FromBatch for Entries {
    const ITEM_BYTES: i64 = 4;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("row", DataType::UInt64, false),
            Field::new("check", DataType::UInt32, false),
        ]))
    }

    fn from_batch(batch: &RecordBatch) -> Self {
        Self {
            rows: batch.column(0).as_primitive::<UInt64Type>().values().clone(),
            checks: batch.column(1).as_primitive::<UInt32Type>().values().clone(),
        }
    }
}

/// What was written of an order.
pub(super) struct WrittenOrder {
    pub(super) by_length: FileMeta,
    pub(super) shapes: FileMeta,
    /// `[length, rows]` ascending: the number of rows whose longest text has at most `length` tokens, special tokens
    /// included.
    pub(super) rows_up_to: Vec<(usize, u64)>,
}

/// Writes an order, entry by entry.
pub(super) struct OrderWriter {
    entries: ArrowFile,
    shapes: ArrowFile,
    rows: Vec<u64>,
    checks: Vec<u32>,
    distinct: ShapesBuilder,
    last: Option<OwnedShape>,
    num_rows: u64,
    rows_up_to: Vec<(usize, u64)>,
}

impl OrderWriter {
    pub(super) fn create(by_length: &Path, shapes: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            entries: ArrowFile::create(by_length, &Entries::schema())?,
            shapes: ArrowFile::create(shapes, &Shapes::schema())?,
            rows: Vec::new(),
            checks: Vec::new(),
            distinct: ShapesBuilder::default(),
            last: None,
            num_rows: 0,
            rows_up_to: Vec::new(),
        })
    }

    /// Adds the next row; rows come in order.
    pub(super) fn push(&mut self, shape: &OwnedShape, row: u64, check: u32) -> Result<(), StoreError> {
        if self.last.as_ref() != Some(shape) {
            self.end_shape()?;
            self.last = Some(shape.clone());
        }
        self.num_rows += 1;
        self.rows.push(row);
        self.checks.push(check);
        if self.rows.len() == ENTRIES_PER_BATCH {
            self.write_entries()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<WrittenOrder, StoreError> {
        self.end_shape()?;
        if !self.rows.is_empty() {
            self.write_entries()?;
        }
        if self.distinct.len() > 0 {
            self.shapes.write(self.distinct.finish())?;
        }
        Ok(WrittenOrder {
            by_length: self.entries.finish()?,
            shapes: self.shapes.finish()?,
            rows_up_to: self.rows_up_to,
        })
    }

    fn end_shape(&mut self) -> Result<(), StoreError> {
        let Some(shape) = self.last.take() else { return Ok(()) };
        let shape = shape.as_shape();
        self.distinct.push(shape, self.num_rows);
        match self.rows_up_to.last_mut() {
            Some((length, rows)) if *length == shape.longest() => *rows = self.num_rows,
            _ => self.rows_up_to.push((shape.longest(), self.num_rows)),
        }
        if self.distinct.len() == SHAPES_PER_BATCH {
            self.shapes.write(self.distinct.finish())?;
        }
        Ok(())
    }

    fn write_entries(&mut self) -> Result<(), StoreError> {
        let rows = UInt64Array::from(std::mem::take(&mut self.rows));
        let checks = UInt32Array::from(std::mem::take(&mut self.checks));
        self.entries.write(RecordBatch::try_new(Entries::schema(), vec![Arc::new(rows), Arc::new(checks)]))
    }
}

/// An Arrow IPC file that is there completely or not at all.
pub(super) struct ArrowFile {
    path: std::path::PathBuf,
    writer: FileWriter<DurableFile>,
}

impl ArrowFile {
    pub(super) fn create(path: &Path, schema: &SchemaRef) -> Result<Self, StoreError> {
        let file = DurableFile::create(path)?;
        let writer = FileWriter::try_new(file, schema).map_err(|e| arrow_error(path, e))?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Writes a batch, if it could be made.
    pub(super) fn write(&mut self, batch: Result<RecordBatch, ArrowError>) -> Result<(), StoreError> {
        batch.and_then(|batch| self.writer.write(&batch)).map_err(|e| arrow_error(&self.path, e))
    }

    pub(super) fn finish(mut self) -> Result<FileMeta, StoreError> {
        self.writer.finish().map_err(|e| arrow_error(&self.path, e))?;
        self.writer.into_inner().map_err(|e| arrow_error(&self.path, e))?.finish()
    }
}

/// An error of Arrow's writer with the file it was writing.
fn arrow_error(path: &Path, error: ArrowError) -> StoreError {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        other => std::io::Error::other(other),
    };
    StoreError::Io { path: path.to_owned(), source }
}
