//! `manifest.json`: what a store holds. It is written last, so a folder without one is not a store.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::SpecialTokens;

/// Changes when older readers could no longer read what newer writers write.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The manifest's file name.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout of the folder.
    pub format_version: u32,
    /// BLAKE3 of the tokenizer.json, in hex.
    pub tokenizer_hash: String,
    /// The tokenizer's special tokens.
    pub special: SpecialTokens,
    /// The largest token id in any row, special tokens included: the model's vocabulary must be larger.
    pub max_token_id: u32,
    /// Tokens of a query at most, special tokens included.
    pub query_max_len: usize,
    /// Tokens of a passage at most, special tokens included.
    pub passage_max_len: usize,
    /// The data sets, in the order in which they were given.
    pub datasets: Vec<DatasetMeta>,
}

/// One data set of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetMeta {
    /// Its name, and the name of its folder.
    pub name: String,
    /// The rows' `type`, if they have one.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Rows in all shards.
    pub num_rows: u64,
    /// Every text of every row has a teacher score.
    pub has_scores: bool,
    /// Rows of every shard but the last, which may have fewer.
    pub rows_per_shard: u64,
    /// Rows of every record batch but a shard's last, which may have fewer.
    pub rows_per_record_batch: u64,
    /// The shards, in row order.
    pub shards: Vec<ShardMeta>,
    /// The row numbers by (length of the longest text, row number).
    pub by_length: FileMeta,
    /// `[length, rows]` ascending: so many rows' longest text has at most `length` tokens, special tokens included.
    pub rows_up_to: Vec<(usize, u64)>,
    /// Texts that were cut to the maximum length.
    pub num_texts_cut: u64,
    /// The files that the rows came from, in order.
    pub sources: Vec<SourceMeta>,
}

/// One shard of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMeta {
    /// Rows of the shard.
    pub num_rows: u64,
    /// The shard's file.
    #[serde(flatten)]
    pub file: FileMeta,
}

/// A file of the store, so that damage can be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// Name inside the data set's folder.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the content, in hex.
    pub blake3: String,
}

/// One file that rows came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceMeta {
    /// The path as given.
    pub path: PathBuf,
    /// Rows taken from it.
    pub rows: u64,
    /// Lines that were skipped as malformed.
    pub skipped: u64,
}
