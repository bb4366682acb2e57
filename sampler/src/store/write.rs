//! The write side: tokenised rows in, a finished store out, or none.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::check::row_check;
use super::columns::{ColumnsBuilder, schema};
use super::durable::DurableFile;
use super::manifest::{DatasetMeta, FORMAT_VERSION, MANIFEST_FILE, Manifest, ShardMeta, SourceMeta, check_name};
use super::order::{ArrowFile, OrderWriter, WrittenOrder};
use super::shapes::{MAX_TEXT_LEN, OwnedShape};
use crate::error::StoreError;
use crate::special::SpecialTokens;

/// Rows that are decoded together when one of them is read. Fewer, larger batches would make the reader's table of
/// decoded batches smaller (about 500 bytes each); smaller ones bound the writer's memory.
const ROWS_PER_RECORD_BATCH: u64 = 4096;

const BY_LENGTH_FILE: &str = "by_length.arrow";
const SHAPES_FILE: &str = "shapes.arrow";

/// A tokenised row, without special tokens and not yet cut.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenRow {
    /// The query.
    pub query: Vec<u32>,
    /// The positives.
    pub pos: Vec<Vec<u32>>,
    /// The negatives.
    pub neg: Vec<Vec<u32>>,
    /// One score per positive.
    pub pos_scores: Option<Vec<f32>>,
    /// One score per negative.
    pub neg_scores: Option<Vec<f32>>,
}

/// What holds for the whole store.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// BLAKE3 of the tokenizer.json, in hex.
    pub tokenizer_hash: String,
    /// Its special tokens.
    pub special: SpecialTokens,
    /// Tokens of a query at most, special tokens included; longer ones are cut.
    pub query_max_len: usize,
    /// Tokens of a passage at most, special tokens included; longer ones are cut.
    pub passage_max_len: usize,
    /// Rows of every shard but a data set's last; at least 1.
    pub rows_per_shard: u64,
}

/// Writes a store. The manifest comes last; dropped before [`finish`](Self::finish), it removes what it wrote.
#[derive(Debug)]
pub struct StoreWriter {
    dir: PathBuf,
    created_dir: bool,
    settings: StoreSettings,
    max_token_id: u32,
    datasets: Vec<DatasetMeta>,
    /// What is removed if the store is not finished.
    written: Vec<PathBuf>,
}

impl StoreWriter {
    /// Starts a store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `dir` holds something already, or cannot be made.
    pub fn create(dir: &Path, settings: StoreSettings) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { path: dir.to_owned(), source };
        debug_assert!(settings.query_max_len.max(settings.passage_max_len) <= MAX_TEXT_LEN);
        let occupied = |reason: &str| StoreError::Occupied { dir: dir.to_owned(), reason: reason.into() };
        if dir.join(MANIFEST_FILE).exists() {
            return Err(occupied("holds a token store"));
        }
        let created_dir = !dir.exists();
        fs::create_dir_all(dir).map_err(io)?;
        if fs::read_dir(dir).map_err(io)?.next().is_some() {
            return Err(occupied("is not empty (an unfinished store, or other files)"));
        }
        let max_token_id = settings.special.max_id();
        Ok(Self { dir: dir.to_owned(), created_dir, settings, max_token_id, datasets: Vec::new(), written: Vec::new() })
    }

    /// Starts the next data set.
    ///
    /// # Errors
    /// The name was used before or cannot be a folder's, or the folder cannot be made.
    pub fn dataset(&mut self, name: &str) -> Result<DatasetWriter<'_>, StoreError> {
        let refused = |reason: String| StoreError::Name { name: name.to_owned(), reason };
        check_name(name).map_err(refused)?;
        if self.datasets.iter().any(|dataset| dataset.name == name) {
            return Err(refused("is there already: each data set has its own name".into()));
        }
        let dir = self.dir.join(name);
        fs::create_dir(&dir).map_err(|source| StoreError::Io { path: dir.clone(), source })?;
        self.written.push(dir.clone());
        Ok(DatasetWriter {
            rows_per_record_batch: ROWS_PER_RECORD_BATCH.min(self.settings.rows_per_shard).max(1),
            store: self,
            name: name.to_owned(),
            dir,
            builder: ColumnsBuilder::new(),
            shard: None,
            shards: Vec::new(),
            rows: Vec::new(),
            all_scored: true,
            num_tokens: 0,
            num_texts_cut: 0,
        })
    }

    /// Starts a file beside the data sets.
    pub(crate) fn file(&mut self, name: &str) -> Result<DurableFile, StoreError> {
        let path = self.dir.join(name);
        let file = DurableFile::create(&path)?;
        self.written.extend([path.with_file_name(format!("{name}.partial")), path]);
        Ok(file)
    }

    /// Writes the manifest: from here on it is a store.
    ///
    /// # Errors
    /// The manifest cannot be written.
    pub fn finish(mut self) -> Result<Manifest, StoreError> {
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            tokenizer_hash: self.settings.tokenizer_hash.clone(),
            special: self.settings.special,
            max_token_id: self.max_token_id,
            query_max_len: self.settings.query_max_len,
            passage_max_len: self.settings.passage_max_len,
            datasets: std::mem::take(&mut self.datasets),
            checksum: String::new(),
        };
        let manifest = manifest.sealed();
        let mut file = self.file(MANIFEST_FILE)?;
        writeln!(file, "{}", manifest.to_json()).map_err(|e| file.error(e))?;
        file.finish()?;
        self.written.clear();
        self.created_dir = false;
        Ok(manifest)
    }
}

impl Drop for StoreWriter {
    /// Half a store helps nobody, and would be in the way of the next attempt.
    fn drop(&mut self) {
        for path in &self.written {
            // What cannot be removed is named by the next attempt as being in the way.
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        if self.created_dir {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Writes one data set's rows into shards, in the order in which they come.
pub struct DatasetWriter<'a> {
    store: &'a mut StoreWriter,
    name: String,
    dir: PathBuf,
    rows_per_record_batch: u64,
    builder: ColumnsBuilder,
    shard: Option<ShardWriter>,
    shards: Vec<ShardMeta>,
    /// Shape and checksum of each row.
    rows: Vec<(OwnedShape, u32)>,
    all_scored: bool,
    num_tokens: u64,
    num_texts_cut: u64,
}

impl DatasetWriter<'_> {
    /// Adds a row; texts over the maxima are cut.
    ///
    /// # Errors
    /// A shard cannot be written, or the rows are too long for Arrow's 32-bit offsets.
    pub fn push(&mut self, mut row: TokenRow) -> Result<(), StoreError> {
        let StoreSettings { query_max_len, passage_max_len, .. } = self.store.settings;
        self.cut(&mut row.query, query_max_len);
        for passage in row.pos.iter_mut().chain(&mut row.neg) {
            self.cut(passage, passage_max_len);
        }
        let texts = || [&row.query].into_iter().chain(&row.pos).chain(&row.neg);
        self.rows.push((row.shape(), row.check(self.rows.len() as u64)));
        self.num_tokens += texts().map(|text| text.len() as u64).sum::<u64>();
        let largest = texts().flatten().copied().max().unwrap_or(0);
        self.store.max_token_id = self.store.max_token_id.max(largest);
        self.all_scored &= row.pos_scores.is_some() && (row.neg.is_empty() || row.neg_scores.is_some());
        if !self.builder.push(&row) {
            return Err(StoreError::BatchTooLarge { dataset: self.name.clone(), rows: self.builder.num_rows() });
        }
        if self.builder.num_rows() as u64 == self.rows_per_record_batch
            || (self.rows.len() as u64).is_multiple_of(self.store.settings.rows_per_shard)
        {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Finishes the last shard and the order by length.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self, kind: Option<String>, sources: Vec<SourceMeta>) -> Result<(), StoreError> {
        if self.builder.num_rows() > 0 {
            self.write_batch()?;
        }
        self.finish_shard()?;
        let num_rows = self.rows.len() as u64;
        let WrittenOrder { by_length, shapes, rows_up_to } = self.write_order()?;
        self.store.datasets.push(DatasetMeta {
            name: self.name,
            kind,
            num_rows,
            has_scores: self.all_scored && num_rows > 0,
            rows_per_shard: self.store.settings.rows_per_shard,
            rows_per_record_batch: self.rows_per_record_batch,
            shards: self.shards,
            num_duplicates: 0,
            duplicates_dropped: false,
            by_length,
            shapes,
            rows_up_to,
            num_tokens: self.num_tokens,
            num_texts_cut: self.num_texts_cut,
            sources,
        });
        Ok(())
    }

    /// Tokens stored so far, without special tokens.
    pub fn num_tokens(&self) -> u64 {
        self.num_tokens
    }

    fn write_order(&mut self) -> Result<WrittenOrder, StoreError> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by(|&a, &b| {
            let key = |i: usize| self.rows[i].0.as_shape();
            key(a).order_key().cmp(&key(b).order_key())
        });
        let mut writer = OrderWriter::create(&self.dir.join(BY_LENGTH_FILE), &self.dir.join(SHAPES_FILE))?;
        for row in order {
            let (shape, check) = &self.rows[row];
            writer.push(shape, row as u64, *check)?;
        }
        writer.finish()
    }

    fn cut(&mut self, content: &mut Vec<u32>, max_len: usize) {
        let kept = max_len.saturating_sub(SpecialTokens::NUM_FRAMING);
        if content.len() > kept {
            content.truncate(kept);
            self.num_texts_cut += 1;
        }
    }

    /// Writes the collected rows to the current shard, and finishes the shard if it is full.
    fn write_batch(&mut self) -> Result<(), StoreError> {
        let rows = self.builder.num_rows() as u64;
        let shard = match &mut self.shard {
            Some(shard) => shard,
            None => {
                let path = self.dir.join(format!("shard-{:05}.arrow", self.shards.len()));
                self.shard.insert(ShardWriter { file: ArrowFile::create(&path, &schema())?, num_rows: 0 })
            }
        };
        shard.file.write(self.builder.finish())?;
        shard.num_rows += rows;
        if shard.num_rows == self.store.settings.rows_per_shard {
            self.finish_shard()?;
        }
        Ok(())
    }

    fn finish_shard(&mut self) -> Result<(), StoreError> {
        if let Some(shard) = self.shard.take() {
            self.shards.push(ShardMeta { num_rows: shard.num_rows, file: shard.file.finish()? });
        }
        Ok(())
    }
}

/// The shard being written.
struct ShardWriter {
    file: ArrowFile,
    num_rows: u64,
}

impl TokenRow {
    /// Token counts of its texts; all are below 2^16 once they are cut.
    fn shape(&self) -> OwnedShape {
        let lens = |texts: &[Vec<u32>]| texts.iter().map(|text| text.len() as u16).collect();
        OwnedShape { query: self.query.len() as u16, pos: lens(&self.pos), neg: lens(&self.neg) }
    }

    fn check(&self, number: u64) -> u32 {
        let passages = [&self.pos, &self.neg].map(|texts| texts.iter().map(Vec::as_slice));
        row_check(number, &self.query, passages, [self.pos_scores.as_deref(), self.neg_scores.as_deref()])
    }
}
