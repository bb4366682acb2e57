//! What `measure` prints.

use serde::{Deserialize, Serialize};

/// How fast the ranks are with a recipe's model, all at work at the same time; the slowest counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Ranks.
    #[serde(default)]
    pub world_size: usize,
    /// In one large matrix product.
    pub product_flops_per_sec: f64,
    /// The texts of one sub-batch.
    pub num_texts: usize,
    /// Tokens of each.
    pub text_len: usize,
    /// The sub-batch, forward and backward.
    pub encoder_secs: f64,
    /// Clipping and updating all weights.
    pub update_secs: f64,
    /// What a rank sends in an all-reduce of all gradients, counted as the ring algorithm sends them.
    pub all_reduce_bytes_per_sec: f64,
    /// What a rank sends to its neighbour.
    pub ring_bytes_per_sec: f64,
}
