//! What `step` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The parts of a loss in the order of its formula.
pub const TERMS: [&str; tercet_configs::NUM_TERMS] =
    ["dense", "lexical", "multi_vector", "hybrid", "distill_dense", "distill_lexical", "distill_multi_vector"];

/// What one step computed. A number that JSON cannot hold (an overflow) is None.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The batch's.
    pub loss: Option<f64>,
    /// Its parts by name ([`TERMS`]), each before its weight.
    pub terms: BTreeMap<String, Option<f64>>,
    /// The scores by every head, and by them together, divided by the temperature; a row for each query, a column for
    /// each passage.
    pub scores: BTreeMap<String, Vec<Vec<Option<f64>>>>,
    /// Query-passage pairs that were left out of the loss.
    #[serde(default)]
    pub false_negatives: i64,
    /// In pre-training the numbers of places that were to be predicted: `encoder_labels` and `decoder_labels`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, i64>,
    /// By the weight's name.
    pub param_grad_norm: BTreeMap<String, Option<f64>>,
    /// The norm of the gradient of all weights together.
    pub total_grad_norm: Option<f64>,
    /// Ranks.
    pub world_size: usize,
}
