//! What one rank computes in a step, as seconds of its phases.

use super::spent::KindSecs;

/// Seconds of the phases, with nothing else on the card beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Computed {
    /// The first pass of encoder and heads; in pre-training the only one, with the words.
    pub forward: f64,
    /// The second forward pass of the sub-batches whose graphs are not kept.
    pub recompute: f64,
    /// The way back.
    pub backward: f64,
    /// Scores with the loss, and their gradients.
    pub scores: [f64; 2],
    /// `backward`'s part: the last sub-batch, beside which the gradient's sum begins.
    pub last_backward: f64,
    /// Clipping and AdamW.
    pub update: f64,
    /// `update` has in it that ranks give each other the weights that they have updated.
    pub update_gathers: bool,
    /// All of it by kind of operation, where that is known.
    pub by_kind: Option<KindSecs>,
}
