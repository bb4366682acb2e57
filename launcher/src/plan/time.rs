//! From operations and bytes to seconds.
//!
//! What the worker sends while it computes costs only what is left of it when the computing beside it is over: passages
//! on the ring beside the scores (`worker/src/scoring/mod.rs`), the gradient beside the last sub-batch's backward pass
//! (`worker/src/step/reduce.rs`). That supposes a network that carries bytes without the ranks' help, as NCCL's does.
//! MPI moves them when it is called, between heads and between layers: with it the truth lies between this and the sum
//! of both.

use serde::Serialize;
use tercet_configs::{ModelShape, Recipe};
use tercet_protocol::says::measure;

use super::flops::{StepFlops, encoder, forward, scores};
use super::load::{Encoded, RankLoad};
use super::predicted::Predicted;
use super::traffic::StepTraffic;

/// What a rank achieves. Given on the command line, or measured by `tercet-worker measure`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Floating-point operations per second in the model, all ranks at work.
    pub flops_per_sec: f64,
    /// The same in one large matrix product: what the machine could do.
    pub peak_flops_per_sec: Option<f64>,
    /// Bytes per second that a rank sends in an all-reduce, counted as the ring algorithm sends them.
    pub all_reduce_bytes_per_sec: f64,
    /// Bytes per second that a rank sends to its neighbour.
    pub ring_bytes_per_sec: f64,
    /// Seconds of clipping and updating all weights; 0 where nobody has measured it.
    pub update_secs: f64,
}

/// What the time of a step follows from: what its slowest rank computes, and what it sends meanwhile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepWork {
    /// All that the rank computes.
    pub flops: StepFlops,
    /// The scores' part of it: forward, backward.
    pub scores: [f64; 2],
    /// The part of the last sub-batch's backward pass through the encoder.
    pub last_backward: f64,
    /// What it sends.
    pub traffic: StepTraffic,
    /// W.
    pub world_size: usize,
    /// The embedding tables' share of the gradient.
    pub tables_share: f64,
    /// Encoder layers.
    pub num_layers: usize,
    /// The ranks share AdamW's moments out.
    pub shards_state: bool,
}

impl StepWork {
    /// Of the rank with this load, `num_global_passages` being P and `traffic` the ranks' mean.
    pub fn of(
        shape: &ModelShape,
        load: &RankLoad,
        num_global_passages: f64,
        (traffic, world_size): (StepTraffic, usize),
        shards_state: bool,
    ) -> Self {
        Self {
            flops: StepFlops::of(shape, load, num_global_passages),
            scores: scores(shape, load, num_global_passages),
            last_backward: 2.0 * encoder(shape, &load.last),
            traffic,
            world_size,
            tables_share: shape.config.num_embeddings() as f64 / shape.num_parameters as f64,
            num_layers: shape.config.num_hidden_layers,
            shards_state,
        }
    }
}

/// One step's seconds, on its slowest rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepSecs {
    /// Encoder and scores.
    pub compute_secs: f64,
    /// Waiting for passages and their gradients on the ring, where the scores are done before they have arrived.
    pub ring_secs: f64,
    /// Waiting for the gradient's sum when the last sub-batch has been walked back.
    pub all_reduce_secs: f64,
    /// Clipping and AdamW.
    pub update_secs: f64,
}

impl Rates {
    /// The same rate for every kind of traffic, and an update that costs nothing.
    pub fn given(flops_per_sec: f64, bytes_per_sec: f64) -> Self {
        Self {
            flops_per_sec,
            peak_flops_per_sec: None,
            all_reduce_bytes_per_sec: bytes_per_sec,
            ring_bytes_per_sec: bytes_per_sec,
            update_secs: 0.0,
        }
    }

    /// From what was measured with the model of this shape, as the recipe trains it.
    pub fn measured(recipe: &Recipe, shape: &ModelShape, found: &measure::Report) -> Self {
        let [num_texts, text_len] = [found.num_texts, found.text_len].map(|number| number as f64);
        let tokens = num_texts * text_len;
        let predicted = std::iter::repeat_n(Predicted::of(recipe, found.text_len), found.num_texts).sum();
        let texts = Encoded { num_texts, tokens, squares: tokens * text_len, longest: text_len, predicted };
        Self {
            // Backward is two more forward passes.
            flops_per_sec: 3.0 * forward(shape, &texts) / found.encoder_secs,
            peak_flops_per_sec: Some(found.product_flops_per_sec),
            all_reduce_bytes_per_sec: found.all_reduce_bytes_per_sec,
            ring_bytes_per_sec: found.ring_bytes_per_sec,
            update_secs: found.update_secs,
        }
    }

    /// What a step takes.
    pub fn step(&self, work: &StepWork) -> StepSecs {
        StepSecs {
            compute_secs: work.flops.total() / self.flops_per_sec,
            ring_secs: self.ring_wait(work),
            all_reduce_secs: self.reduce_wait(work),
            update_secs: self.update_secs,
        }
    }

    /// A block travels while the one before it is scored. On the second trip its gradients follow it a hop behind, and
    /// their last hop, home, has nothing beside it; nor has what a two-way loss transposes.
    fn ring_wait(&self, work: &StepWork) -> f64 {
        let (world, traffic) = (work.world_size as f64, &work.traffic);
        if work.world_size == 1 {
            return 0.0;
        }
        let sent = |bytes: f64| secs(bytes, self.ring_bytes_per_sec);
        let hops = world - 1.0;
        let (block, gradients) =
            (sent(traffic.ring_block_bytes / (2.0 * hops)), sent(traffic.ring_gradient_bytes / world));
        let [forward, backward] = work.scores.map(|flops| flops / world / self.flops_per_sec);
        let there = hops * left_of(block, forward);
        let back = left_of(block, backward)
            + (hops - 1.0) * left_of(block + gradients, backward)
            + left_of(gradients, backward);
        there + back + gradients + sent(traffic.ring_score_bytes)
    }

    /// The gradient leaves in buckets, layer by layer, while the last sub-batch is walked back; that of the embedding
    /// tables is final when all is. A layer is over before its own buckets leave.
    fn reduce_wait(&self, work: &StepWork) -> f64 {
        let all = secs(work.traffic.all_reduce_sent_bytes(work.world_size), self.all_reduce_bytes_per_sec);
        // Half of the way the sums go, the other half their results; or, with sharded state, the updated weights, for
        // which nothing else is done meanwhile. A measured update has that half in it.
        let (sums, weights) = match work.shards_state {
            true => (all / 2.0, if self.update_secs > 0.0 { 0.0 } else { all / 2.0 }),
            false => (all, 0.0),
        };
        let early = sums * (1.0 - work.tables_share);
        let beside = early.min(work.last_backward / self.flops_per_sec) * (1.0 - 1.0 / work.num_layers as f64);
        sums - beside + weights
    }
}

/// 0 bytes take no time at any rate.
fn secs(bytes: f64, bytes_per_sec: f64) -> f64 {
    if bytes > 0.0 { bytes / bytes_per_sec } else { 0.0 }
}

/// What is left of an exchange when the computing beside it is over.
fn left_of(exchange_secs: f64, compute_secs: f64) -> f64 {
    (exchange_secs - compute_secs).max(0.0)
}

impl StepSecs {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.compute_secs + self.ring_secs + self.all_reduce_secs + self.update_secs
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan::shape_of_tests::shape;

    /// 40 GFLOP of which 1 and 2 are scores and 4 the last sub-batch's backward pass, on 4 ranks; the tables are half
    /// of the gradient.
    fn work(traffic: StepTraffic) -> StepWork {
        StepWork {
            flops: StepFlops { forward: 12e9, recomputed: 5e9, backward: 20e9, scores: 3e9 },
            scores: [1e9, 2e9],
            last_backward: 4e9,
            traffic,
            world_size: 4,
            tables_share: 0.5,
            num_layers: 4,
            shards_state: false,
        }
    }

    #[test]
    fn the_ring_takes_what_the_scores_do_not_hide() {
        // 20 GFLOP/s: a block of scores takes 12.5 ms there and 25 ms back. 1 GB/s: a block takes 20 ms, gradients 15
        // ms.
        let rates = Rates::given(20e9, 1e9);
        let traffic =
            StepTraffic { ring_block_bytes: 6.0 * 20e6, ring_gradient_bytes: 4.0 * 15e6, ..StepTraffic::default() };
        let secs = rates.step(&work(traffic));
        assert_eq!(secs.compute_secs, 2.0);
        // There three blocks are 7.5 ms late each. Back: a block in time, twice a block with gradients 10 ms late,
        // gradients in time, and 15 ms home.
        assert!((secs.ring_secs - (3.0 * 7.5e-3 + 2.0 * 10e-3 + 15e-3)).abs() < 1e-12, "{secs:?}");
        // Scores of a two-way loss are transposed when there is nothing else to do.
        let two_way = StepTraffic { ring_score_bytes: 5e6, ..traffic };
        assert!((rates.step(&work(two_way)).ring_secs - secs.ring_secs - 5e-3).abs() < 1e-12);
        // A fast network leaves the last hop alone.
        let fast = Rates { ring_bytes_per_sec: 2e9, ..rates }.step(&work(traffic));
        assert!((fast.ring_secs - 7.5e-3).abs() < 1e-12, "{fast:?}");
    }

    #[test]
    fn the_gradient_takes_what_the_last_backward_pass_does_not_hide() {
        // 2·3/4 of 4 GB at 20 GB/s are 300 ms, half of them tables; the last backward pass takes 200 ms, a layer 50 ms.
        let traffic = StepTraffic { all_reduce_bytes: 4e9, ..StepTraffic::default() };
        let mut rates = Rates::given(20e9, 20e9);
        let waits = |rates: &Rates, work: StepWork| rates.step(&work).all_reduce_secs;
        assert!((waits(&rates, work(traffic)) - (0.3 - 0.15 * 0.75)).abs() < 1e-12);
        let slow = Rates { all_reduce_bytes_per_sec: 2e9, ..rates };
        assert!((waits(&slow, work(traffic)) - (3.0 - 0.2 * 0.75)).abs() < 1e-12);
        // Sharded, the sums are half of it, and the other half are weights, after the update or measured with it.
        let sharded = StepWork { shards_state: true, ..work(traffic) };
        assert!((waits(&rates, sharded) - (0.3 - 0.075 * 0.75)).abs() < 1e-12);
        rates.update_secs = 0.25;
        assert!((waits(&rates, sharded) - (0.15 - 0.075 * 0.75)).abs() < 1e-12);
        assert_eq!(rates.step(&sharded).update_secs, 0.25);
    }

    #[test]
    fn a_step_takes_all_its_parts() {
        let secs = StepSecs { compute_secs: 2.0, ring_secs: 0.5, all_reduce_secs: 3.0, update_secs: 0.25 };
        assert_eq!(secs.total(), 5.75);
    }

    #[test]
    fn a_measured_rate_is_three_passes_over_the_time() {
        let found = measure::Report {
            world_size: 1,
            product_flops_per_sec: 1e6,
            num_texts: 2,
            text_len: 5,
            encoder_secs: 0.5,
            update_secs: 0.1,
            all_reduce_bytes_per_sec: 3.0,
            ring_bytes_per_sec: 4.0,
        };
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &[]).unwrap();
        let rates = Rates::measured(&recipe, &shape(true), &found);
        // Two layers of 10 tokens at 1024 and attention over 2 · 25 squares at 32; heads at 80 a token.
        assert_eq!(rates.flops_per_sec, 3.0 * (2.0 * (10_240.0 + 1_600.0) + 800.0) / 0.5);
        assert_eq!((rates.peak_flops_per_sec, rates.update_secs), (Some(1e6), 0.1));
    }

    #[test]
    fn one_rank_needs_no_bandwidth() {
        let traffic = StepTraffic { all_reduce_bytes: 4e9, ..StepTraffic::default() };
        let alone = StepWork { world_size: 1, ..work(traffic) };
        let secs = Rates::given(1.0, 0.0).step(&alone);
        assert_eq!((secs.ring_secs, secs.all_reduce_secs), (0.0, 0.0));
    }
}
