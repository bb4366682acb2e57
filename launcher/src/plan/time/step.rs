//! A step of the slowest rank: what its time follows from, and what it is made of.

use serde::Serialize;
use tercet_configs::ModelShape;

use super::computed::Computed;
use super::network::{Gradient, Network};
use crate::plan::traffic::StepTraffic;
use crate::plan::work::RankLoad;

/// What the time of a step follows from: what a rank computes, and what it sends meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct StepWork<'a> {
    /// The model.
    pub shape: &'a ModelShape,
    /// The rank's share.
    pub load: &'a RankLoad,
    /// P.
    pub num_global_passages: f64,
    /// What it sends, the ranks' mean.
    pub traffic: StepTraffic,
    /// W.
    pub world_size: usize,
    /// The ranks share AdamW's moments out.
    pub shards_state: bool,
    /// The step distils.
    pub distils: bool,
}

/// One step's seconds, on its slowest rank; or a run's, all steps together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepSecs {
    /// The first pass of encoder and heads; in pre-training the only one, with the words.
    pub forward_secs: f64,
    /// The second forward pass of the sub-batches whose graphs are not kept.
    pub recompute_secs: f64,
    /// The way back.
    pub backward_secs: f64,
    /// Scores, the loss, and their gradients.
    pub scoring_secs: f64,
    /// Waiting for passages and their gradients on the ring, where the scores are done before they have arrived.
    pub ring_secs: f64,
    /// Waiting for the gradient's sum when the last sub-batch has been walked back.
    pub all_reduce_secs: f64,
    /// Clipping and AdamW.
    pub update_secs: f64,
}

impl StepSecs {
    /// The seconds of what a rank computes, and waits for on the network.
    pub fn of(work: &StepWork, computed: &Computed, network: &Network) -> Self {
        let gradient = Gradient {
            world_size: work.world_size,
            tables_share: work.shape.config.num_embeddings() as f64 / work.shape.num_parameters as f64,
            num_layers: work.shape.config.num_hidden_layers,
            shards_state: work.shards_state,
            update_gathers: computed.update_gathers,
        };
        Self {
            forward_secs: computed.forward,
            recompute_secs: computed.recompute,
            backward_secs: computed.backward,
            scoring_secs: computed.scores.iter().sum(),
            ring_secs: network.ring_wait(computed.scores, &work.traffic, work.world_size),
            all_reduce_secs: network.reduce_wait(computed.last_backward, &work.traffic, &gradient),
            update_secs: computed.update,
        }
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.named().iter().map(|(_, secs)| secs).sum()
    }

    /// Its parts, in the order of a step.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("forward", self.forward_secs),
            ("recompute", self.recompute_secs),
            ("backward", self.backward_secs),
            ("scoring", self.scoring_secs),
            ("ring", self.ring_secs),
            ("all-reduce", self.all_reduce_secs),
            ("update", self.update_secs),
        ]
    }

    /// The part that takes most.
    pub fn longest(&self) -> &'static str {
        let named = self.named();
        named.iter().fold(named[0], |most, &part| if part.1 > most.1 { part } else { most }).0
    }

    /// The sum of such seconds, each times its factor.
    pub fn weighted(all: impl Iterator<Item = (f64, Self)>) -> Self {
        all.fold(Self::default(), |sum, (times, of)| Self {
            forward_secs: sum.forward_secs + times * of.forward_secs,
            recompute_secs: sum.recompute_secs + times * of.recompute_secs,
            backward_secs: sum.backward_secs + times * of.backward_secs,
            scoring_secs: sum.scoring_secs + times * of.scoring_secs,
            ring_secs: sum.ring_secs + times * of.ring_secs,
            all_reduce_secs: sum.all_reduce_secs + times * of.all_reduce_secs,
            update_secs: sum.update_secs + times * of.update_secs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_all_its_parts() {
        let secs = StepSecs { forward_secs: 2.0, ring_secs: 0.5, all_reduce_secs: 3.0, ..StepSecs::default() };
        assert_eq!((secs.total(), secs.longest()), (5.5, "all-reduce"));
        let sum = StepSecs::weighted([(2.0, secs), (1.0, StepSecs { update_secs: 0.25, ..secs })].into_iter());
        assert_eq!((sum.total(), sum.forward_secs), (16.75, 6.0));
    }
}
