//! What `bench` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tercet_configs::{MatmulLibrary, Precision};

/// The steps that were timed, and what the machine can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Ranks.
    pub world_size: usize,
    /// Each rank's threads.
    pub threads: usize,
    /// The recipe's, or what was decided for it.
    pub precision: Precision,
    /// The library of each kind of product of a linear map.
    #[serde(default)]
    pub cpu_matmul: BTreeMap<String, MatmulLibrary>,
    /// A rank's best rate in a large matrix product, on its threads, in this precision, while all ranks do the same.
    pub product_flops_per_sec: f64,
    /// The same by libtorch's `matmul`, which is not always the fastest way.
    pub libtorch_product_flops_per_sec: f64,
    /// In order.
    pub steps: Vec<Step>,
    /// The largest rank's.
    pub peak_rss_bytes: f64,
    /// The most that a rank's tensors took at once on its GPU in a timed step; none on CPUs.
    #[serde(default)]
    pub device_peak_bytes: Option<f64>,
    /// Tokens of a sub-batch, as the steps had them.
    #[serde(default)]
    pub sub_batch_tokens: usize,
    /// Tokens whose graphs rank 0 kept.
    #[serde(default)]
    pub kept_graph_tokens: usize,
}

/// One step: seconds are the ranks' mean, tokens those of all ranks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// By the clock on the wall.
    pub step_secs: f64,
    /// The seconds of all threads of a rank.
    pub cpu_secs: f64,
    /// By phase; they sum to `step_secs`, on a GPU nearly: it is the GPU's own time.
    pub phase_secs: BTreeMap<String, f64>,
    /// Encoded.
    pub tokens: f64,
    /// Σ L² of the texts' lengths.
    pub squares: f64,
    /// In pre-training: words that the encoder had to predict.
    #[serde(default)]
    pub encoder_labels: f64,
    /// Words that the decoder had to predict, which are its rows.
    #[serde(default)]
    pub decoder_labels: f64,
    /// Σ rows · L of the decoder.
    #[serde(default)]
    pub decoder_pairs: f64,
}
