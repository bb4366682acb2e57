//! Row numbers by the length of their longest text: the `by_length.arrow` of a data set.
//!
//! A counting sort, because lengths are small numbers. It holds 12 bytes a row while a data set is finished.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{RecordBatch, UInt64Array};
use arrow_buffer::ScalarBuffer;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::durable::DurableFile;
use super::manifest::FileMeta;
use super::mapped::FromBatch;
use crate::error::StoreError;

/// Row numbers in a record batch of the file; the last has the rest.
pub(super) const POSITIONS_PER_BATCH: usize = 1 << 20;

/// Row numbers of one record batch.
#[derive(Debug)]
pub(super) struct Positions(pub(super) ScalarBuffer<u64>);

impl FromBatch for Positions {
    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("row", DataType::UInt64, false)]))
    }

    fn from_batch(batch: &RecordBatch) -> Self {
        Self(batch.column(0).as_primitive::<UInt64Type>().values().clone())
    }
}

/// The rows ordered by (length, row number), and `[length, rows up to it]` for each length that occurs.
pub(super) fn order_by_length(lengths: &[u32]) -> (Vec<u64>, Vec<(usize, u64)>) {
    let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
    // next[l] is where the next row of length l goes.
    let mut next = vec![0_usize; longest + 2];
    for &length in lengths {
        next[length as usize + 1] += 1;
    }
    for length in 0..=longest {
        next[length + 1] += next[length];
    }
    let mut order = vec![0; lengths.len()];
    for (row, &length) in lengths.iter().enumerate() {
        let position = &mut next[length as usize];
        order[*position] = row as u64;
        *position += 1;
    }
    // Every length's rows are placed now, so next[l] is where they end.
    let mut rows_up_to: Vec<(usize, u64)> = Vec::new();
    for (length, &end) in next[..=longest].iter().enumerate() {
        if end as u64 > rows_up_to.last().map_or(0, |last| last.1) {
            rows_up_to.push((length, end as u64));
        }
    }
    (order, rows_up_to)
}

/// Writes the order to `path`.
pub(super) fn write_order(path: &Path, order: Vec<u64>) -> Result<FileMeta, StoreError> {
    let file = DurableFile::create(path)?;
    let damaged = |e: ArrowError| arrow_error(path, e);
    let schema = Positions::schema();
    let mut writer = FileWriter::try_new(file, &schema).map_err(damaged)?;
    let rows = UInt64Array::from(order);
    for start in (0..rows.len()).step_by(POSITIONS_PER_BATCH) {
        let slice = rows.slice(start, POSITIONS_PER_BATCH.min(rows.len() - start));
        let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(slice)]).map_err(damaged)?;
        writer.write(&batch).map_err(damaged)?;
    }
    writer.finish().map_err(damaged)?;
    writer.into_inner().map_err(damaged)?.finish()
}

/// An error of Arrow's writer with the file it was writing.
pub(super) fn arrow_error(path: &Path, error: ArrowError) -> StoreError {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        other => std::io::Error::other(other),
    };
    StoreError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ordered_by_length_then_number() {
        let (order, rows_up_to) = order_by_length(&[5, 2, 5, 9, 2, 2]);
        assert_eq!(order, [1, 4, 5, 0, 2, 3]);
        assert_eq!(rows_up_to, [(2, 3), (5, 5), (9, 6)]);
    }

    #[test]
    fn no_rows_have_an_order_too() {
        assert_eq!(order_by_length(&[]), (vec![], vec![]));
    }
}
