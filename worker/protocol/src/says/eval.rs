//! What `eval` writes: its `--json`, and metrics.json and per_query.jsonl beside the run files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Data set → head, or combination of heads → figures.
pub type Results = BTreeMap<String, BTreeMap<String, Metrics>>;

/// Name → figure, in 0..=1: of one query, or the mean over queries.
pub type Metrics = BTreeMap<String, f64>;

/// One query's figures: a line of per_query.jsonl.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerQuery {
    /// The data set.
    pub data: String,
    /// The query's `_id`.
    pub query: String,
    /// The head, or combination of heads.
    pub ranking: String,
    /// Its figures.
    #[serde(flatten)]
    pub metrics: Metrics,
}
