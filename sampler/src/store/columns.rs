//! A record batch of a shard, as the writer builds it and as the reader sees it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Float32Array, ListArray, RecordBatch, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

use super::mapped::FromBatch;
use super::token_row::TokenRow;

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, false)))
}

/// The columns of a shard.
pub(super) fn schema() -> SchemaRef {
    let texts = || list(list(DataType::UInt32));
    Arc::new(Schema::new(vec![
        Field::new("query", list(DataType::UInt32), false),
        Field::new("pos", texts(), false),
        Field::new("neg", texts(), false),
        Field::new("pos_scores", list(DataType::Float32), true),
        Field::new("neg_scores", list(DataType::Float32), true),
    ]))
}

/// One text per entry: text i is `tokens[offsets[i]..offsets[i + 1]]`.
#[derive(Debug)]
pub(super) struct Texts {
    offsets: OffsetBuffer<i32>,
    tokens: ScalarBuffer<u32>,
}

impl Texts {
    fn of(array: &ListArray) -> Self {
        Self { offsets: array.offsets().clone(), tokens: array.values().as_primitive::<UInt32Type>().values().clone() }
    }

    pub(super) fn get(&self, i: usize) -> &[u32] {
        &self.tokens[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }
}

/// Several texts per row: row r has the texts `rows[r]..rows[r + 1]`.
#[derive(Debug)]
pub(super) struct TextLists {
    rows: OffsetBuffer<i32>,
    pub(super) texts: Texts,
}

impl TextLists {
    fn of(array: &ListArray) -> Self {
        Self { rows: array.offsets().clone(), texts: Texts::of(array.values().as_list::<i32>()) }
    }

    /// The numbers of row `r`'s texts in [`texts`](Self::texts).
    pub(super) fn range(&self, r: usize) -> std::ops::Range<usize> {
        self.rows[r] as usize..self.rows[r + 1] as usize
    }
}

/// Scores per row, or none.
#[derive(Debug)]
pub(super) struct Scores {
    rows: OffsetBuffer<i32>,
    scores: ScalarBuffer<f32>,
    present: Option<NullBuffer>,
}

impl Scores {
    fn of(array: &ListArray) -> Self {
        Self {
            rows: array.offsets().clone(),
            scores: array.values().as_primitive::<Float32Type>().values().clone(),
            present: array.nulls().cloned(),
        }
    }

    /// Row `r`'s scores, if it has any.
    pub(super) fn get(&self, r: usize) -> Option<&[f32]> {
        if self.present.as_ref().is_some_and(|present| present.is_null(r)) {
            return None;
        }
        Some(&self.scores[self.rows[r] as usize..self.rows[r + 1] as usize])
    }
}

/// The columns of one record batch; all of it lies in the memory map.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) num_rows: usize,
    pub(super) query: Texts,
    pub(super) pos: TextLists,
    pub(super) neg: TextLists,
    pub(super) pos_scores: Scores,
    pub(super) neg_scores: Scores,
}

impl FromBatch for Columns {
    const ITEM_BYTES: i64 = 4;

    fn schema() -> SchemaRef {
        schema()
    }

    fn from_batch(batch: &RecordBatch) -> Self {
        let column = |i: usize| batch.column(i).as_list::<i32>();
        Self {
            num_rows: batch.num_rows(),
            query: Texts::of(column(0)),
            pos: TextLists::of(column(1)),
            neg: TextLists::of(column(2)),
            pos_scores: Scores::of(column(3)),
            neg_scores: Scores::of(column(4)),
        }
    }
}

/// Collects rows and turns them into a record batch.
pub(super) struct ColumnsBuilder {
    query: TextsBuilder,
    pos: TextListsBuilder,
    neg: TextListsBuilder,
    pos_scores: ScoresBuilder,
    neg_scores: ScoresBuilder,
}

impl ColumnsBuilder {
    pub(super) fn new() -> Self {
        Self {
            query: TextsBuilder::new(),
            pos: TextListsBuilder::new(),
            neg: TextListsBuilder::new(),
            pos_scores: ScoresBuilder::new(),
            neg_scores: ScoresBuilder::new(),
        }
    }

    pub(super) fn num_rows(&self) -> usize {
        self.query.offsets.len() - 1
    }

    /// Adds a row; false, and the batch is of no more use, if 32-bit offsets overflow.
    pub(super) fn push(&mut self, row: &TokenRow) -> bool {
        self.pos_scores.push(row.pos_scores.as_deref());
        self.neg_scores.push(row.neg_scores.as_deref());
        self.query.push(&row.query) && self.pos.push(&row.pos) && self.neg.push(&row.neg)
    }

    /// The rows collected so far; none are left behind.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let Self { query, pos, neg, pos_scores, neg_scores } = std::mem::replace(self, Self::new());
        RecordBatch::try_new(
            schema(),
            vec![query.finish(), pos.finish(), neg.finish(), pos_scores.finish(), neg_scores.finish()],
        )
    }
}

/// Appends `end` to `offsets` if it fits in 32 bits.
fn push_offset(offsets: &mut Vec<i32>, end: usize) -> bool {
    i32::try_from(end).map(|end| offsets.push(end)).is_ok()
}

/// A list array without nulls, or with.
fn list_array(offsets: Vec<i32>, values: ArrayRef, present: Option<NullBuffer>) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), false));
    // The builders push ascending offsets that end at the number of values.
    Arc::new(ListArray::new(field, OffsetBuffer::new(offsets.into()), values, present))
}

struct TextsBuilder {
    offsets: Vec<i32>,
    tokens: Vec<u32>,
}

impl TextsBuilder {
    fn new() -> Self {
        Self { offsets: vec![0], tokens: Vec::new() }
    }

    fn push(&mut self, text: &[u32]) -> bool {
        self.tokens.extend_from_slice(text);
        push_offset(&mut self.offsets, self.tokens.len())
    }

    fn finish(self) -> ArrayRef {
        list_array(self.offsets, Arc::new(UInt32Array::from(self.tokens)), None)
    }
}

struct TextListsBuilder {
    rows: Vec<i32>,
    texts: TextsBuilder,
}

impl TextListsBuilder {
    fn new() -> Self {
        Self { rows: vec![0], texts: TextsBuilder::new() }
    }

    fn push(&mut self, texts: &[Vec<u32>]) -> bool {
        texts.iter().all(|text| self.texts.push(text)) && push_offset(&mut self.rows, self.texts.offsets.len() - 1)
    }

    fn finish(self) -> ArrayRef {
        list_array(self.rows, self.texts.finish(), None)
    }
}

struct ScoresBuilder {
    rows: Vec<i32>,
    scores: Vec<f32>,
    present: Vec<bool>,
}

impl ScoresBuilder {
    fn new() -> Self {
        Self { rows: vec![0], scores: Vec::new(), present: Vec::new() }
    }

    fn push(&mut self, scores: Option<&[f32]>) {
        self.scores.extend_from_slice(scores.unwrap_or_default());
        // There are at most as many scores as texts, whose offsets are checked.
        self.rows.push(self.scores.len() as i32);
        self.present.push(scores.is_some());
    }

    fn finish(self) -> ArrayRef {
        let present = NullBuffer::from(self.present);
        list_array(self.rows, Arc::new(Float32Array::from(self.scores)), Some(present))
    }
}
