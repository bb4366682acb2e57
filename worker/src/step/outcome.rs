//! The results of a step.

use tercet_cluster::{Collective, CollectiveError, ReduceOp, Traffic};

use crate::scoring::Scores;
use crate::step::contrastive::loss::Terms;

/// The results of computing a gradient.
#[derive(Debug)]
pub struct Outcome {
    /// The global batch's loss: the same on every rank, once it is summed.
    pub loss: f64,
    /// Its parts, likewise.
    pub terms: Terms,
    /// This rank's scores, not yet divided by the temperature, [Q, P] each.
    pub scores: Scores,
    /// Pairs of this rank's queries and passages that were left out of the loss.
    pub num_false_negatives: usize,
    /// Real tokens that this rank encoded.
    pub num_tokens: usize,
    /// Tokens that it encoded, padding included.
    pub num_padded_tokens: usize,
}

impl Outcome {
    /// Replaces the loss and its parts by the global ones, the sums of every rank's shares. Every rank calls it.
    ///
    /// # Errors
    /// A collective that failed.
    pub(super) fn summed(self, ranks: &dyn Collective) -> Result<Self, CollectiveError> {
        let parts = self.terms.values();
        let mut sums: Vec<f64> = parts.iter().map(|part| part.unwrap_or(0.0)).chain([self.loss]).collect();
        ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
        let terms = Terms::from_values(std::array::from_fn(|i| parts[i].map(|_| sums[i])));
        Ok(Self { loss: sums[parts.len()], terms, ..self })
    }
}

/// The results of a training step.
#[derive(Debug)]
pub struct Stepped {
    /// The results of the gradient's computation.
    pub outcome: Outcome,
    /// What this rank handed to collectives for it.
    pub traffic: Traffic,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// The rate of the update.
    pub learning_rate: f64,
    /// Loss and gradient were finite on all ranks, so the weights were updated.
    pub is_updated: bool,
    /// Some rank asked for the run to stop.
    pub stops: bool,
}
