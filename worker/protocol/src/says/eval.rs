//! What `eval` writes: its `--json`, and metrics.json beside the run files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Data set → head, or combination of heads → figures.
pub type Results = BTreeMap<String, BTreeMap<String, Metrics>>;

/// One query's figures, or their mean over queries. Each lies in 0..=1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Normalised discounted cumulative gain of the first 10.
    #[serde(rename = "ndcg@10")]
    pub ndcg_at_10: f64,
    /// Share of the relevant documents that are among the first 100.
    #[serde(rename = "recall@100")]
    pub recall_at_100: f64,
    /// 1 / rank of the first relevant document, 0 if it is not among the first 10.
    #[serde(rename = "mrr@10")]
    pub mrr_at_10: f64,
}
