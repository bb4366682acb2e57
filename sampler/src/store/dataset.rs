//! Writes one data set: shards as rows come, the orders at the end.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;

use super::begun::{Begun, StoreSettings};
use super::columns::{ColumnsBuilder, schema};
use super::manifest::{DatasetMeta, Holds, LanguageMeta, ShardMeta, SourceMeta};
use super::measure::{Measured, OrderRecord, read_pair};
use super::order::{ArrowFile, OrderWriter, WrittenOrder};
use super::runs::{RunBuilder, merge};
use super::token_row::{LabelledRow, TokenRow, UNKNOWN_LANGUAGE};
use super::unfinished::{DatasetRecord, LeftShards, ShardRecord, Totals, shard_path};
use crate::error::StoreError;
use crate::special::SpecialTokens;

/// Rows that are decoded together when one of them is read. Fewer, larger batches would make the reader's table of
/// decoded batches smaller (about 500 bytes each); smaller ones bound the writer's memory.
const ROWS_PER_RECORD_BATCH: u64 = 4096;

/// Tokens of a record batch and of a shard, estimated from the data set's first rows: 16 MiB and 512 MiB. Parallel file
/// systems are best with few large files, and an attempt that is stopped loses at most one shard.
const TOKENS_PER_RECORD_BATCH: u64 = 4 << 20;
const TOKENS_PER_SHARD: u64 = 128 << 20;

const BY_LENGTH_FILE: &str = "by_length.arrow";
const SHAPES_FILE: &str = "shapes.arrow";

/// Writes one data set's rows into shards, in the order in which they come.
pub struct DatasetWriter<'a> {
    store: &'a mut Begun,
    name: String,
    holds: Holds,
    dir: PathBuf,
    totals: Totals,
    shards: Vec<ShardMeta>,
    shard: Option<ShardWriter>,
}

/// The shard being written.
struct ShardWriter {
    file: ArrowFile,
    /// Rows that the file does not have yet.
    builder: ColumnsBuilder,
    num_rows: u64,
    order: RunBuilder,
    pairs: RunBuilder,
}

impl<'a> DatasetWriter<'a> {
    pub(super) fn new(store: &'a mut Begun, name: &str, holds: Holds, dir: PathBuf) -> Self {
        Self::after(store, name, holds, dir, LeftShards(Vec::new()))
    }

    /// Goes on after the shards that an earlier attempt finished.
    pub(super) fn after(store: &'a mut Begun, name: &str, holds: Holds, dir: PathBuf, left: LeftShards) -> Self {
        let totals = left.0.last().map(|record| record.totals.clone()).unwrap_or_default();
        let shards = left.0.into_iter().map(|record| record.shard).collect();
        Self { store, name: name.to_owned(), holds, dir, totals, shards, shard: None }
    }

    /// Adds a row; texts over the maxima are cut.
    ///
    /// # Errors
    /// A shard cannot be written, or the rows are too long for Arrow's 32-bit offsets.
    pub fn push(&mut self, row: TokenRow) -> Result<(), StoreError> {
        self.extend(vec![LabelledRow { tokens: row, language: UNKNOWN_LANGUAGE.to_owned(), num_cut: 0 }])
    }

    /// Chooses the number of rows of a shard, if it is not chosen yet and there are rows to judge by. Rows that are
    /// `packed` will be as long as they may.
    pub(crate) fn expect<'r>(&mut self, rows: impl Iterator<Item = &'r TokenRow>, packed: bool) {
        if self.totals.rows_per_shard > 0 {
            return;
        }
        let StoreSettings { passage_max_len, text_max_len, rows_per_shard, .. } = self.store.settings;
        let query_max_len = self.query_max_len();
        let (mut num_rows, mut tokens) = (0, 0);
        for row in rows {
            num_rows += 1;
            tokens += row.query.len().min(query_max_len);
            tokens += row.pos.iter().chain(&row.neg).map(|text| text.len().min(passage_max_len)).sum::<usize>();
        }
        if num_rows == 0 {
            return;
        }
        let mean_tokens = if packed { text_max_len as u64 } else { (tokens as u64 / num_rows).max(1) };
        self.totals.rows_per_shard = rows_per_shard.min(TOKENS_PER_SHARD / mean_tokens).max(1);
        let batch = ROWS_PER_RECORD_BATCH.min(TOKENS_PER_RECORD_BATCH / mean_tokens);
        self.totals.rows_per_record_batch = batch.clamp(1, self.totals.rows_per_shard);
    }

    /// The largest number of tokens of a row's query, or of its text where rows are texts alone.
    fn query_max_len(&self) -> usize {
        match self.holds {
            Holds::Pairs => self.store.settings.query_max_len,
            Holds::Texts => self.store.settings.text_max_len,
        }
    }

    /// As [`push`](Self::push) for each row, measuring them on all cores.
    pub(crate) fn extend(&mut self, mut rows: Vec<LabelledRow>) -> Result<(), StoreError> {
        self.expect(rows.iter().map(|row| &row.tokens), false);
        let max_lens = (self.query_max_len(), self.store.settings.passage_max_len);
        let first = self.totals.num_rows;
        let measured: Vec<(u64, Measured)> = rows
            .par_iter_mut()
            .enumerate()
            .map(|(i, row)| {
                let num_cut = row.num_cut + cut(&mut row.tokens, max_lens);
                (num_cut, Measured::of(&row.tokens, first + i as u64, &row.language))
            })
            .collect();
        for (row, (num_cut, measured)) in rows.iter().zip(measured) {
            self.count(row, num_cut, &measured);
            self.append(row, &measured)?;
        }
        Ok(())
    }

    /// The number of rows that the current shard still takes; none if a shard's number is not chosen yet.
    pub(crate) fn room(&self) -> Option<u64> {
        let held = self.shard.as_ref().map_or(0, |shard| shard.num_rows);
        (self.totals.rows_per_shard > 0).then(|| self.totals.rows_per_shard - held)
    }

    /// Finishes the current shard, if there is one, and keeps `state` with it: an interrupted preparation continues
    /// from here. Otherwise a shard is finished when the row after its last comes.
    pub(crate) fn end_shard(&mut self, state: Value) -> Result<(), StoreError> {
        let Some(mut shard) = self.shard.take() else { return Ok(()) };
        shard.write_batch()?;
        let number = self.shards.len();
        let order = shard.order.write(&shard_path(&self.dir, number, "order"))?;
        let pairs = shard.pairs.write(&shard_path(&self.dir, number, "pairs"))?;
        let shard = ShardMeta { num_rows: shard.num_rows, file: shard.file.finish()? };
        self.shards.push(shard.clone());
        ShardRecord { shard, order, pairs, totals: self.totals.clone(), state }.write(&self.dir, number)?;
        self.store.keep();
        Ok(())
    }

    /// Finishes the last shard and the order by length.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self, kind: Option<String>, sources: Vec<SourceMeta>) -> Result<(), StoreError> {
        self.finish_with(kind, sources, Value::Null)
    }

    /// As [`finish`](Self::finish), and keeps `state` with the data set.
    pub(crate) fn finish_with(
        mut self,
        kind: Option<String>,
        sources: Vec<SourceMeta>,
        state: Value,
    ) -> Result<(), StoreError> {
        self.end_shard(state.clone())?;
        let duplicates = self.find_duplicates()?;
        let WrittenOrder { by_length, shapes, rows_up_to } = self.write_order(&duplicates)?;
        let totals = self.totals;
        let dataset = DatasetMeta {
            name: self.name,
            kind,
            holds: self.holds,
            num_rows: totals.num_rows,
            has_scores: totals.num_unscored == 0 && totals.num_rows > 0,
            num_unscored: Some(totals.num_unscored),
            rows_per_shard: totals.rows_per_shard.max(1),
            rows_per_record_batch: totals.rows_per_record_batch.max(1),
            shards: self.shards,
            num_duplicates: duplicates.count,
            duplicates_dropped: self.store.drop_duplicates,
            by_length,
            shapes,
            rows_up_to,
            num_tokens: totals.num_tokens,
            num_texts_cut: totals.num_texts_cut,
            languages: totals.languages,
            sources,
        };
        let record = DatasetRecord { dataset, max_token_id: totals.max_token_id, state };
        record.write(&self.dir)?;
        self.store.add(record);
        Ok(())
    }

    /// Rows so far.
    pub(crate) fn num_rows(&self) -> u64 {
        self.totals.num_rows
    }

    /// Tokens stored so far, without special tokens.
    pub fn num_tokens(&self) -> u64 {
        self.totals.num_tokens
    }

    /// The data set's folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn count(&mut self, row: &LabelledRow, num_cut: u64, measured: &Measured) {
        let totals = &mut self.totals;
        totals.num_rows += 1;
        totals.num_tokens += measured.num_tokens;
        totals.num_texts_cut += num_cut;
        totals.max_token_id = totals.max_token_id.max(measured.largest_token);
        let TokenRow { neg, pos_scores, neg_scores, .. } = &row.tokens;
        totals.num_unscored += u64::from(pos_scores.is_none() || (neg_scores.is_none() && !neg.is_empty()));
        if !totals.languages.contains_key(&row.language) {
            totals.languages.insert(row.language.clone(), LanguageMeta::default());
        }
        if let Some(language) = totals.languages.get_mut(&row.language) {
            language.num_rows += 1;
            language.num_tokens += measured.num_tokens;
            language.longest = language.longest.max(measured.longest);
        }
    }

    fn append(&mut self, row: &LabelledRow, measured: &Measured) -> Result<(), StoreError> {
        if self.room() == Some(0) {
            self.end_shard(Value::Null)?;
        }
        let shard = match &mut self.shard {
            Some(shard) => shard,
            None => self.shard.insert(ShardWriter::create(&shard_path(&self.dir, self.shards.len(), "arrow"))?),
        };
        if !shard.builder.push(&row.tokens) {
            return Err(StoreError::BatchTooLarge { dataset: self.name.clone(), rows: shard.builder.num_rows() });
        }
        shard.num_rows += 1;
        shard.order.push(&measured.order_record);
        shard.pairs.push(&measured.pair_record);
        if shard.builder.num_rows() as u64 == self.totals.rows_per_record_batch {
            shard.write_batch()?;
        }
        Ok(())
    }

    /// The runs of all shards.
    fn runs(&self, extension: &str) -> Vec<PathBuf> {
        (0..self.shards.len()).map(|number| shard_path(&self.dir, number, extension)).collect()
    }

    fn find_duplicates(&self) -> Result<Duplicates, StoreError> {
        let mut duplicates = Duplicates { bits: vec![0; self.totals.num_rows.div_ceil(64) as usize], count: 0 };
        let mut last = None;
        merge(&self.runs("pairs"), |record| {
            let (hash, row) = read_pair(record).ok_or_else(|| self.damaged())?;
            if last == Some(*hash) {
                *duplicates.bits.get_mut((row / 64) as usize).ok_or_else(|| self.damaged())? |= 1 << (row % 64);
                duplicates.count += 1;
            }
            last = Some(*hash);
            Ok(())
        })?;
        Ok(duplicates)
    }

    fn write_order(&mut self, duplicates: &Duplicates) -> Result<WrittenOrder, StoreError> {
        let dropped = self.store.drop_duplicates;
        let mut languages = std::mem::take(&mut self.totals.languages);
        let mut writer = OrderWriter::create(&self.dir.join(BY_LENGTH_FILE), &self.dir.join(SHAPES_FILE))?;
        merge(&self.runs("order"), |record| {
            let OrderRecord { shape, row, check, language } =
                OrderRecord::read(record).ok_or_else(|| self.damaged())?;
            let is_duplicate = duplicates.has(row);
            if is_duplicate && let Some(language) = languages.get_mut(language) {
                language.num_duplicates += 1;
            }
            if is_duplicate && dropped { Ok(()) } else { writer.push(&shape, row, check) }
        })?;
        self.totals.languages = languages;
        writer.finish()
    }

    fn damaged(&self) -> StoreError {
        StoreError::Damaged {
            path: self.dir.clone(),
            reason: "a sorted run of its rows is not what was written".into(),
        }
    }
}

impl ShardWriter {
    fn create(path: &Path) -> Result<Self, StoreError> {
        let file = ArrowFile::create(path, &schema())?;
        let (order, pairs) = (RunBuilder::default(), RunBuilder::default());
        Ok(Self { file, builder: ColumnsBuilder::new(), num_rows: 0, order, pairs })
    }

    fn write_batch(&mut self) -> Result<(), StoreError> {
        if self.builder.num_rows() == 0 {
            return Ok(());
        }
        self.file.write(self.builder.finish())
    }
}

/// Rows whose query and positives are those of an earlier row: a bit for each row.
struct Duplicates {
    bits: Vec<u64>,
    count: u64,
}

impl Duplicates {
    fn has(&self, row: u64) -> bool {
        self.bits.get((row / 64) as usize).is_some_and(|bits| bits >> (row % 64) & 1 == 1)
    }
}

/// Cuts the texts over the maxima, and counts them.
fn cut(row: &mut TokenRow, (query_max_len, passage_max_len): (usize, usize)) -> u64 {
    let cut = |content: &mut Vec<u32>, max_len: usize| {
        let kept = max_len.saturating_sub(SpecialTokens::NUM_FRAMING);
        let is_cut = content.len() > kept;
        content.truncate(kept);
        u64::from(is_cut)
    };
    let query = cut(&mut row.query, query_max_len);
    let passages = row.pos.iter_mut().chain(&mut row.neg);
    query + passages.map(|passage| cut(passage, passage_max_len)).sum::<u64>()
}
