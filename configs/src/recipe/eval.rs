//! `[eval]`: small data sets that a run is judged by while it lasts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::loss::LossPreset;
use crate::metric::Metric;

/// `[eval]`: judges the model while it trains, as `tercet eval` would. Training computes the same with and without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalSection {
    /// BEIR-format folders: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv. Small ones, since every evaluation encodes
    /// them anew. None: the run is not evaluated.
    pub data: Vec<PathBuf>,
    /// Which judgments are taken: qrels/SPLIT.tsv. What a checkpoint is chosen by should not be what it is judged by
    /// afterwards.
    pub split: String,
    /// Optimizer steps between evaluations; 0: only after the last step. Each has a checkpoint of the same step.
    pub every_steps: u64,
    /// The figures: "ndcg", "recall", "mrr", "map", "precision" or "answer_recall", with a cut-off of any depth:
    /// "ndcg@10".
    pub metrics: Vec<Metric>,
    /// The largest number of tokens of a query; 0: `data.query_max_len`.
    pub query_max_len: usize,
    /// The largest number of tokens of a passage; 0: `data.passage_max_len`.
    pub passage_max_len: usize,
    /// Evaluations in a row that do not better the figure of `checkpoint.keep_best`, after which the run ends; 0: it
    /// never ends early.
    pub early_stop: u64,
}

impl Default for EvalSection {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            split: "dev".into(),
            every_steps: 1000,
            metrics: Metric::DEFAULT.to_vec(),
            query_max_len: 0,
            passage_max_len: 0,
            early_stop: 0,
        }
    }
}

impl EvalSection {
    /// The name of the mean over data sets, which no data set has.
    pub const MEAN: &str = "mean";

    /// The heads and their combinations by name, in the order in which people read them.
    pub const BY_HEADS: [&str; 5] = ["dense", "lexical", "multi_vector", "dense_lexical", "all"];

    /// What documents are ranked by, by name: all heads that `preset` trains, and their combinations.
    pub fn rankings(preset: LossPreset) -> &'static [&'static str] {
        match preset {
            LossPreset::Unified | LossPreset::PaperV1 | LossPreset::Independent => &Self::BY_HEADS,
            LossPreset::Dense => &["dense"],
            LossPreset::Retromae | LossPreset::Mlm => &[],
        }
    }

    /// The data set, ranking and metric that the name of a figure is made of: `mean/dense/ndcg@10`.
    pub fn parts(figure: &str) -> Option<[&str; 3]> {
        // A data set's name is a folder's, which has no slash.
        <[&str; 3]>::try_from(figure.split('/').collect::<Vec<_>>()).ok()
    }
}
