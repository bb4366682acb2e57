//! Row shapes: how long each text of a row is. The `shapes.arrow` of a data set.
//!
//! A plan needs lengths, not tokens, of every row that a batch could take. In the order by length, rows of one shape
//! are neighbours; so the table of distinct shapes with the number of rows up to each tells the lengths at any
//! position, at the cost of a binary search. Pairs have few shapes (512 query lengths times 8192 passage lengths at
//! most), so a thousand million rows have a table of some megabytes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt16Type, UInt64Type};
use arrow_array::{ArrayRef, ListArray, RecordBatch, UInt16Array, UInt64Array};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::mapped::{FromBatch, MappedFile};
use crate::error::StoreError;
use crate::special::SpecialTokens;

/// Shapes in a record batch of the file; the last has the rest.
pub(super) const SHAPES_PER_BATCH: usize = 1 << 16;

/// Tokens of a text at most, special tokens included: what 16 bits hold of the others.
pub(crate) const MAX_TEXT_LEN: usize = u16::MAX as usize + SpecialTokens::NUM_FRAMING;

/// Token counts of a row's texts, without special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape<'a> {
    /// The query's tokens.
    pub query: u16,
    /// Tokens of each positive.
    pub pos: &'a [u16],
    /// Tokens of each negative.
    pub neg: &'a [u16],
}

impl Shape<'_> {
    /// Tokens of the longest text, special tokens included.
    pub fn longest(&self) -> usize {
        let passages = self.pos.iter().chain(self.neg).copied();
        passages.fold(self.query, u16::max) as usize + SpecialTokens::NUM_FRAMING
    }

    /// What rows are ordered by. The number of negatives comes second, so that rows with enough of them are one stretch
    /// among the rows of one length.
    #[cfg(test)]
    pub(crate) fn order_key(&self) -> (usize, usize, u16, &[u16], &[u16]) {
        (self.longest(), self.neg.len(), self.query, self.pos, self.neg)
    }
}

/// A shape that owns its lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct OwnedShape {
    pub(super) query: u16,
    pub(super) pos: Vec<u16>,
    pub(super) neg: Vec<u16>,
}

impl OwnedShape {
    pub(super) fn as_shape(&self) -> Shape<'_> {
        Shape { query: self.query, pos: &self.pos, neg: &self.neg }
    }
}

/// The file, and where each of its record batches ends among the positions.
#[derive(Debug)]
pub(super) struct ShapeTable {
    file: MappedFile<Shapes>,
    ends: Vec<u64>,
}

impl ShapeTable {
    pub(super) fn open(file: MappedFile<Shapes>) -> Result<Self, StoreError> {
        let mut ends = Vec::with_capacity(file.num_batches());
        for i in 0..file.num_batches() {
            let end = file.batch(i)?.rows_up_to.last().copied();
            ends.push(end.ok_or_else(|| file.damaged(format!("record batch {i} is empty")))?);
        }
        Ok(Self { file, ends })
    }

    /// The shape at `position`, and the first position after those that have it.
    pub(super) fn at(&self, position: u64) -> Result<(Shape<'_>, u64), StoreError> {
        let shapes = self.file.batch(self.ends.partition_point(|&end| end <= position))?;
        let i = shapes.rows_up_to.partition_point(|&end| end <= position);
        shapes.get(i).ok_or_else(|| self.file.damaged(format!("position {position} has no shape")))
    }
}

/// The columns of one record batch.
#[derive(Debug)]
pub(super) struct Shapes {
    rows_up_to: ScalarBuffer<u64>,
    query: ScalarBuffer<u16>,
    pos: Lens,
    neg: Lens,
}

#[derive(Debug)]
struct Lens {
    offsets: OffsetBuffer<i32>,
    lens: ScalarBuffer<u16>,
}

impl Lens {
    fn of(array: &ListArray) -> Self {
        Self { offsets: array.offsets().clone(), lens: array.values().as_primitive::<UInt16Type>().values().clone() }
    }

    fn get(&self, i: usize) -> &[u16] {
        &self.lens[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

impl Shapes {
    fn get(&self, i: usize) -> Option<(Shape<'_>, u64)> {
        let end = *self.rows_up_to.get(i)?;
        Some((Shape { query: self.query[i], pos: self.pos.get(i), neg: self.neg.get(i) }, end))
    }
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::UInt16, false)))
}

impl FromBatch for Shapes {
    const ITEM_BYTES: i64 = 2;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("rows_up_to", DataType::UInt64, false),
            Field::new("query", DataType::UInt16, false),
            Field::new("pos", list(), false),
            Field::new("neg", list(), false),
        ]))
    }

    fn from_batch(batch: &RecordBatch) -> Self {
        Self {
            rows_up_to: batch.column(0).as_primitive::<UInt64Type>().values().clone(),
            query: batch.column(1).as_primitive::<UInt16Type>().values().clone(),
            pos: Lens::of(batch.column(2).as_list()),
            neg: Lens::of(batch.column(3).as_list()),
        }
    }
}

/// Collects shapes and turns them into a record batch.
#[derive(Default)]
pub(super) struct ShapesBuilder {
    rows_up_to: Vec<u64>,
    query: Vec<u16>,
    pos: LensBuilder,
    neg: LensBuilder,
}

#[derive(Default)]
struct LensBuilder {
    ends: Vec<i32>,
    lens: Vec<u16>,
}

impl LensBuilder {
    fn push(&mut self, lens: &[u16]) {
        self.lens.extend_from_slice(lens);
        // A record batch of 2^16 shapes reaches 2^31 only with 2^15 texts in every row.
        self.ends.push(self.lens.len() as i32);
    }

    fn finish(self) -> ArrayRef {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        let field = Arc::new(Field::new_list_field(DataType::UInt16, false));
        let lens = Arc::new(UInt16Array::from(self.lens));
        Arc::new(ListArray::new(field, OffsetBuffer::new(offsets.into()), lens, None))
    }
}

impl ShapesBuilder {
    pub(super) fn len(&self) -> usize {
        self.query.len()
    }

    /// Adds a shape; `rows_up_to` counts the rows up to the last that has it.
    pub(super) fn push(&mut self, shape: Shape<'_>, rows_up_to: u64) {
        self.rows_up_to.push(rows_up_to);
        self.query.push(shape.query);
        self.pos.push(shape.pos);
        self.neg.push(shape.neg);
    }

    /// The shapes collected so far; none are left behind.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let Self { rows_up_to, query, pos, neg } = std::mem::take(self);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(rows_up_to)),
            Arc::new(UInt16Array::from(query)),
            pos.finish(),
            neg.finish(),
        ];
        RecordBatch::try_new(Shapes::schema(), columns)
    }
}
