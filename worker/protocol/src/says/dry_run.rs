//! What `index --dry-run` and `search --dry-run` print: what a part of the work took, measured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tercet_configs::{Device, Precision};

/// A part of a corpus, encoded and packed; nothing is written. Texts, tokens and bytes are of all ranks together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexSample {
    /// Ranks.
    pub world_size: usize,
    /// What they compute on.
    pub device: Device,
    /// What they compute in.
    pub precision: Precision,
    /// Passages of the corpus.
    pub passages: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// Passages of the sample, spread over the corpus.
    pub sampled: u64,
    /// Their tokens, special ones included.
    pub tokens: u64,
    /// The sum of the squares of their lengths in tokens.
    pub squares: u64,
    /// Encoding the sample, on the slowest rank.
    pub encode_secs: f64,
    /// Bytes of the sample in an index, by what they hold.
    pub stored_bytes: BTreeMap<String, u64>,
}

/// Some queries, searched and thrown away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchSample {
    /// Ranks.
    pub world_size: usize,
    /// What they compute on.
    pub device: Device,
    /// Passages of the index.
    pub passages: u64,
    /// Bytes of its blocks.
    pub index_bytes: u64,
    /// The width of a dense vector.
    pub dense_width: u64,
    /// Queries that were searched.
    pub queries: u64,
    /// Queries of a batch, each of which reads the index once.
    pub batch: u64,
    /// Encoding the queries, on the slowest rank.
    pub encode_secs: f64,
    /// Going through all passages, by ranking, on the slowest rank.
    pub first_secs: BTreeMap<String, f64>,
    /// Encoding candidates again and scoring them, on the slowest rank; none if no ranking wants it.
    pub again_secs: Option<f64>,
    /// Candidates that were encoded again: each once, however many queries want it.
    pub candidates: u64,
    /// Candidates of a query at most.
    pub rerank: usize,
    /// Documents of a list at most.
    pub top: usize,
}
