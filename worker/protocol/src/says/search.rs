//! What `search` writes beside its run files, search.json: what was asked of what, and how lists were made.

use serde::{Deserialize, Serialize};

/// A search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchRecord {
    /// Checksum of the model's weights.
    pub weights: String,
    /// Checksum of the index's passages.
    pub corpus: String,
    /// Passages of the index.
    pub passages: u64,
    /// Queries.
    pub queries: usize,
    /// Names of the rankings, each of which has a run file.
    pub rankings: Vec<String>,
    /// Documents of a list at most.
    pub top: usize,
    /// Documents of the dense list that were encoded again.
    pub rerank: usize,
    /// Weights of dense and lexical scores.
    pub dense_lexical_weights: [f64; 2],
    /// Weights of dense, lexical and multi-vector scores.
    pub all_weights: [f64; 3],
    /// What weights of tokens were taken for.
    pub lexical: String,
    /// BM25's k1.
    pub bm25_k1: f64,
    /// BM25's b.
    pub bm25_b: f64,
    /// What BM25 took a document's length for.
    pub bm25_lengths: String,
    /// What stood before each query.
    pub query_prompt: String,
    /// Tokens of a query at most.
    pub query_max_len: usize,
}
