//! A step's figures: a line of the run folder's metrics.jsonl, and with `log.per_rank` one of ranks.jsonl. An
//! evaluation's are a line of metrics.jsonl as well.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::figure;

/// One step; a line of metrics.jsonl. Figures that a line lacks are read as NaN where they are shown to people, else
/// as 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default = "StepRecord::unknown")]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Passes over the data before this one.
    pub epoch: u64,
    /// The batch's data set.
    pub dataset: String,
    /// The batch's length group, from 0.
    pub length_group: usize,
    /// The global batch's loss.
    #[serde(deserialize_with = "figure")]
    pub loss: f64,
    /// Its parts by name, each before its weight.
    pub terms: BTreeMap<String, Option<f64>>,
    /// In pre-training the shares of masked words that were predicted first, by name of the side.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub accuracies: BTreeMap<String, f64>,
    /// In pre-training, in every step that looks (`pretrain.gap_every`): by how much the decoder's loss is larger with
    /// another text's sentence vector, which is what the vector carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoder_gap: Option<f64>,
    /// The rate this step used.
    #[serde(deserialize_with = "figure")]
    pub learning_rate: f64,
    /// Before clipping.
    #[serde(deserialize_with = "figure")]
    pub grad_norm: f64,
    /// All ranks' tokens.
    pub tokens: u64,
    /// Per second, all ranks together.
    #[serde(deserialize_with = "figure")]
    pub tokens_per_sec: f64,
    /// Largest over mean estimated cost of the ranks.
    #[serde(deserialize_with = "figure")]
    pub imbalance: f64,
    /// Query-passage pairs of the global batch that were left out of the loss.
    pub false_negatives: u64,
    /// Steps so far that made no update: this one is the last of them if the number has grown.
    pub skipped: u64,
    /// Steps so far whose gradient norm was far above the usual one.
    pub grad_norm_spikes: u64,
    /// The slowest rank's.
    #[serde(deserialize_with = "figure")]
    pub step_secs: f64,
    /// The seconds of all steps so far that made an update, each counted once.
    #[serde(deserialize_with = "figure")]
    pub useful_secs: f64,
    /// These seconds' share of the time since the run first began.
    #[serde(deserialize_with = "figure")]
    pub goodput: f64,
    /// What training has waited for checkpoints since the step before.
    #[serde(deserialize_with = "figure")]
    pub checkpoint_stall_secs: f64,
    /// Where rank 0's time went in the step, by phase; the wait for its batch is not in it. On a GPU it is the GPU's
    /// time up to where it was when the step ended; what was left, mostly the update, is in the next step's.
    pub phase_secs: BTreeMap<String, f64>,
    /// The longest that a rank waited for its batch.
    #[serde(deserialize_with = "figure")]
    pub wait_secs: f64,
    /// The two's ratio: the part of a step that reading holds up.
    #[serde(deserialize_with = "figure")]
    pub wait_share: f64,
    /// What a rank hands to all-reduces while it computes the gradient, the mean over ranks.
    pub all_reduce_bytes: u64,
    /// The same of the ring.
    pub ring_bytes: u64,
    /// The same of all-gathers.
    pub gather_bytes: u64,
    /// The largest resident memory of a rank.
    pub rss_bytes: u64,
    /// The largest that a rank's has been so far.
    pub peak_rss_bytes: u64,
    /// The most that a rank's tensors took at once on its GPU since the step before; none on CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_peak_bytes: Option<u64>,
}

impl StepRecord {
    fn unknown() -> Self {
        let [loss, learning_rate, grad_norm, tokens_per_sec, goodput] = [f64::NAN; 5];
        Self { loss, learning_rate, grad_norm, tokens_per_sec, goodput, ..Self::default() }
    }
}

/// An evaluation of the model after a step: a line of metrics.jsonl behind the step's own. `eval_secs` tells the two
/// kinds of lines apart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Steps done.
    pub step: u64,
    /// Seconds that it took.
    pub eval_secs: f64,
    /// Seconds of all evaluations so far, each counted once.
    pub eval_secs_so_far: f64,
    /// These seconds' share of the time since the run first began.
    pub eval_share: f64,
    /// `eval/DATA SET/RANKING/METRIC` → the mean over the queries of the data set, or over data sets for the data set
    /// `mean`.
    #[serde(flatten)]
    pub figures: BTreeMap<String, f64>,
}

impl EvalRecord {
    /// How the name of each figure begins.
    pub const BEGINNING: &str = "eval/";

    /// The name under which a figure is recorded, of its parts.
    pub fn name_of(dataset: &str, ranking: &str, metric: &str) -> String {
        format!("{}{dataset}/{ranking}/{metric}", Self::BEGINNING)
    }

    /// Whether a line of metrics.jsonl is an evaluation's.
    pub fn is_one(line: &serde_json::Value) -> bool {
        line.get("eval_secs").is_some()
    }
}

/// Each rank's share of a step, in the order of ranks; a line of ranks.jsonl.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankShares {
    /// Steps done, this one included.
    pub step: u64,
    /// Rows.
    pub rows: Vec<i64>,
    /// Real tokens.
    pub tokens: Vec<i64>,
    /// A checksum of the rows' data sets and numbers, in hexadecimal.
    pub rows_checksum: Vec<String>,
    /// Resident memory.
    pub rss_bytes: Vec<i64>,
    /// The largest that it has been so far.
    pub peak_rss_bytes: Vec<i64>,
}
