//! The options of `prepare`, and what it reports.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::{PrepareError, RowError, StoreError};
use crate::special::SpecialTokens;
use crate::store::{Holds, MAX_TEXT_LEN, Manifest, check_name};

/// What to prepare, and how.
#[derive(Debug, Clone)]
pub struct PrepareOptions {
    /// The model's tokenizer.json.
    pub tokenizer: PathBuf,
    /// The data sets.
    pub inputs: Vec<PrepareInput>,
    /// The folder of the store. It must be missing, empty, or hold what the same command left unfinished.
    pub out: PathBuf,
    /// The largest number of tokens of a query, special tokens included; longer ones are cut.
    pub query_max_len: usize,
    /// The largest number of tokens of a passage, special tokens included; longer ones are cut.
    pub passage_max_len: usize,
    /// How texts alone become rows.
    pub texts: TextOptions,
    /// What happens at a malformed line.
    pub on_error: OnError,
    /// Whether duplicates (query and positives, or text, of an earlier row of the data set) are left out of all
    /// batches.
    pub drop_duplicates: bool,
    /// The number of rows of every shard except a data set's last; it is lower if rows are so long that a shard would
    /// be huge.
    pub rows_per_shard: u64,
}

/// One data set: rows that may share a batch.
#[derive(Debug, Clone)]
pub struct PrepareInput {
    /// The data set's name: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// What its rows are. A store holds data sets of one kind.
    pub holds: Holds,
    /// JSON Lines (plain, or compressed with gzip, bzip2 or zstd), Parquet, Arrow, and folders of Hugging Face
    /// `datasets`. For texts alone, a file of lines that is not named as JSON Lines holds lines of plain text. The
    /// files' rows are stored in this order.
    pub paths: Vec<PathBuf>,
}

/// How texts alone become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TextOptions {
    /// The largest number of tokens of a row, special tokens included.
    pub max_len: usize,
    /// What becomes of longer texts.
    pub long: Long,
    /// Whether a row takes further texts of the data set as long as they fit, with an EOS between two.
    pub pack: bool,
}

/// What becomes of a text that is longer than a row may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Long {
    /// Its end is cut off.
    Cut,
    /// It becomes several rows, each but the last as long as it may be.
    Split,
}

impl TextOptions {
    /// Tokens of a row at most, without its frame.
    pub(super) fn content_len(&self) -> usize {
        self.max_len.saturating_sub(SpecialTokens::NUM_FRAMING).max(1)
    }
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { max_len: 8192, long: Long::Cut, pack: false }
    }
}

/// What happens at a malformed line. A file that cannot be read to its end is always an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It ends the preparation.
    Stop,
    /// It is left out, counted, and listed in the store's `skipped.jsonl`.
    Skip,
}

/// The progress of the preparation, for all data sets together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrepareProgress<'a> {
    /// The current data set.
    pub dataset: &'a str,
    /// Rows stored.
    pub rows: u64,
    /// Lines skipped.
    pub skipped: u64,
    /// Tokens stored, without special tokens.
    pub tokens: u64,
    /// Bytes read from the input files, counted as stored on disk.
    pub input_bytes: u64,
    /// Bytes of all input files, counted as stored on disk.
    pub input_bytes_total: u64,
}

/// What was prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareReport {
    /// Rows stored.
    pub num_rows: u64,
    /// Lines skipped.
    pub num_skipped: u64,
    /// Tokens stored, without special tokens.
    pub num_tokens: u64,
    /// Texts cut to the maximum length.
    pub num_texts_cut: u64,
    /// What the rows hold that is not used, with numbers.
    pub warnings: Vec<String>,
    /// The list of skipped lines, with [`OnError::Skip`].
    pub skipped_list: Option<PathBuf>,
    /// The store's manifest, with the figures by data set and file.
    pub manifest: Manifest,
}

impl PrepareOptions {
    /// Finds the mistakes that can be found before hours of work.
    pub(super) fn check(&self) -> Result<(), PrepareError> {
        let fail = |message: String| Err(PrepareError::Options(message));
        if self.inputs.is_empty() {
            return fail("there is nothing to prepare: name at least one data set with its files".into());
        }
        for (i, input) in self.inputs.iter().enumerate() {
            let name = || input.name.clone();
            check_name(&input.name).map_err(|reason| StoreError::Name { name: name(), reason })?;
            if self.inputs[..i].iter().any(|earlier| earlier.name == input.name) {
                let reason = "is named twice: list all its files under one name".into();
                return Err(StoreError::Name { name: name(), reason }.into());
            }
            if input.paths.is_empty() {
                return fail(format!("data set {} has no files", input.name));
            }
            let first = &self.inputs[0];
            if input.holds != first.holds {
                let (pairs, texts) = if first.holds == Holds::Pairs { (first, input) } else { (input, first) };
                return fail(format!(
                    "data set {} is of rows of queries and passages, and {} of texts alone: no run takes both, so prepare \
                     a store of each",
                    pairs.name, texts.name
                ));
            }
        }
        let lens = [
            ("query_max_len", self.query_max_len),
            ("passage_max_len", self.passage_max_len),
            ("text_max_len", self.texts.max_len),
        ];
        for (what, len) in lens {
            if len > MAX_TEXT_LEN {
                return fail(format!("{what} is {len}: the store holds texts of up to {MAX_TEXT_LEN} tokens"));
            }
            if len <= SpecialTokens::NUM_FRAMING {
                return fail(format!("{what} is {len}: two special tokens and one of the text need 3"));
            }
        }
        if self.rows_per_shard == 0 {
            return fail("rows_per_shard is 0: a shard holds at least one row".into());
        }
        Ok(())
    }

    /// The number of bytes of all input files; fails if one is missing.
    pub(super) fn input_bytes(&self) -> Result<u64, RowError> {
        let paths = self.inputs.iter().flat_map(|input| &input.paths);
        let bytes = paths.map(|path| match std::fs::metadata(path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(RowError::Open { path: path.clone(), source }),
        });
        bytes.sum()
    }
}
