//! What ranks wait for of what they send.
//!
//! What the worker sends while it computes costs only what is left of it when the computing beside it is over: passages
//! on the ring beside the scores (`worker/src/scoring/mod.rs`), the gradient beside the last sub-batch's backward pass
//! (`worker/src/step/reduce.rs`). That supposes a network that carries bytes without the ranks' help, as NCCL's does.
//! MPI moves them when it is called, between heads and between layers: with it the truth lies between this and the sum
//! of both.

use serde::Serialize;
use tercet_configs::limits::BUCKET_BYTES;

use super::cards::EXCHANGE_SECS;
use crate::plan::traffic::StepTraffic;

/// Rates between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Network {
    /// Bytes per second that a rank sends in an all-reduce, counted as the ring algorithm sends them.
    pub all_reduce_bytes_per_sec: f64,
    /// Bytes per second that a rank sends to its neighbour.
    pub ring_bytes_per_sec: f64,
    /// Seconds before an exchange begins.
    pub exchange_secs: f64,
}

/// What is summed over ranks, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradient {
    /// W.
    pub world_size: usize,
    /// The embedding tables' share of it.
    pub tables_share: f64,
    /// Encoder layers.
    pub num_layers: usize,
    /// The ranks share AdamW's moments out, and give each other the weights that they have updated.
    pub shards_state: bool,
    /// The time of an update has that exchange in it.
    pub update_gathers: bool,
}

impl Network {
    /// The same rate for every kind of traffic.
    pub fn given(bytes_per_sec: f64) -> Self {
        Self { all_reduce_bytes_per_sec: bytes_per_sec, ring_bytes_per_sec: bytes_per_sec, exchange_secs: 0.0 }
    }

    /// The network of cards, by the bytes per second that a card sends to others of its machine and over a network
    /// adapter, of which each card has one. An all-reduce goes on as many rings as there are adapters, and each ring
    /// leaves a machine once; so a rank sends as fast as all of its machine's adapters together, or as to the other
    /// cards. A neighbour in another machine is reached by one adapter.
    pub fn of([within, adapter]: [f64; 2], world_size: usize, per_machine: usize) -> Self {
        let (all_reduce, ring) = match world_size > per_machine {
            true => (within.min(per_machine as f64 * adapter), within.min(adapter)),
            false => (within, within),
        };
        Self { all_reduce_bytes_per_sec: all_reduce, ring_bytes_per_sec: ring, exchange_secs: EXCHANGE_SECS }
    }

    /// A block travels while the one before it is scored. On the second trip its gradients follow it a hop behind, and
    /// their last hop, home, has nothing beside it; nor has what a two-way loss transposes. `scores` are the seconds of
    /// scoring all blocks, there and back.
    pub fn ring_wait(&self, scores: [f64; 2], traffic: &StepTraffic, world_size: usize) -> f64 {
        if world_size == 1 || traffic.ring_bytes == 0.0 {
            return 0.0;
        }
        let world = world_size as f64;
        let sent = |bytes: f64| self.exchange_secs + secs(bytes, self.ring_bytes_per_sec);
        let hops = world - 1.0;
        let (block, gradients) =
            (sent(traffic.ring_block_bytes / (2.0 * hops)), sent(traffic.ring_gradient_bytes / world));
        let [forward, backward] = scores.map(|secs| secs / world);
        let there = hops * left_of(block, forward);
        let back = left_of(block, backward)
            + (hops - 1.0) * left_of(block + gradients, backward)
            + left_of(gradients, backward);
        there + back + gradients + secs(traffic.ring_score_bytes, self.ring_bytes_per_sec)
    }

    /// The gradient leaves in buckets, layer by layer, while the last sub-batch is walked back, which takes
    /// `last_backward` seconds; that of the embedding tables is final when all is. A layer is over before its own
    /// buckets leave.
    pub fn reduce_wait(&self, last_backward: f64, traffic: &StepTraffic, gradient: &Gradient) -> f64 {
        if gradient.world_size == 1 {
            return 0.0;
        }
        let buckets = (traffic.all_reduce_bytes / BUCKET_BYTES as f64).ceil();
        let sent = traffic.all_reduce_sent_bytes(gradient.world_size);
        let (carried, begun) = (secs(sent, self.all_reduce_bytes_per_sec), buckets * self.exchange_secs);
        // Half of the way the sums go, the other half their results; or, with sharded state, the updated weights, for
        // which nothing else is done meanwhile. Both then begin once for each bucket.
        let (sums, weights) = match gradient.shards_state {
            true => {
                let half = carried / 2.0 + begun;
                (half, if gradient.update_gathers { 0.0 } else { half })
            }
            false => (carried + begun, 0.0),
        };
        let early = sums * (1.0 - gradient.tables_share);
        let beside = early.min(last_backward) * (1.0 - 1.0 / gradient.num_layers as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// On 4 ranks scores take 50 ms there and 100 back: a block 12.5 and 25.
    const SCORES: [f64; 2] = [0.05, 0.1];

    fn ring(network: &Network, traffic: StepTraffic) -> f64 {
        let bytes = traffic.ring_block_bytes + traffic.ring_gradient_bytes + traffic.ring_score_bytes;
        network.ring_wait(SCORES, &StepTraffic { ring_bytes: bytes, ..traffic }, 4)
    }

    #[test]
    fn the_ring_takes_what_the_scores_do_not_hide() {
        // 1 GB/s: a block takes 20 ms, gradients 15 ms.
        let network = Network::given(1e9);
        let traffic =
            StepTraffic { ring_block_bytes: 6.0 * 20e6, ring_gradient_bytes: 4.0 * 15e6, ..StepTraffic::default() };
        let waits = ring(&network, traffic);
        // There three blocks are 7.5 ms late each. Back: a block in time, twice a block with gradients 10 ms late,
        // gradients in time, and 15 ms home.
        assert!((waits - (3.0 * 7.5e-3 + 2.0 * 10e-3 + 15e-3)).abs() < 1e-12, "{waits}");
        // Scores of a two-way loss are transposed when there is nothing else to do.
        let two_way = StepTraffic { ring_score_bytes: 5e6, ..traffic };
        assert!((ring(&network, two_way) - waits - 5e-3).abs() < 1e-12);
        // A fast network leaves the last hop alone.
        let fast = ring(&Network { ring_bytes_per_sec: 2e9, ..network }, traffic);
        assert!((fast - 7.5e-3).abs() < 1e-12, "{fast}");
        // Beginning takes time at every hop: 2.5 ms are hidden there and once back.
        let slow = ring(&Network { exchange_secs: 1e-3, ..network }, traffic);
        assert!((slow - waits - (3.0 + 2.0 * 2.0 + 1.0) * 1e-3).abs() < 1e-12, "{slow}");
        assert_eq!(network.ring_wait(SCORES, &StepTraffic::default(), 4), 0.0);
    }

    #[test]
    fn the_gradient_takes_what_the_last_backward_pass_does_not_hide() {
        // 2·3/4 of 4 GB at 20 GB/s are 300 ms, half of them tables; the last backward pass takes 200 ms, a layer 50 ms.
        let traffic = StepTraffic { all_reduce_bytes: 4e9, ..StepTraffic::default() };
        let gradient =
            Gradient { world_size: 4, tables_share: 0.5, num_layers: 4, shards_state: false, update_gathers: false };
        let waits = |rate: f64, gradient: Gradient| Network::given(rate).reduce_wait(0.2, &traffic, &gradient);
        assert!((waits(20e9, gradient) - (0.3 - 0.15 * 0.75)).abs() < 1e-12);
        assert!((waits(2e9, gradient) - (3.0 - 0.2 * 0.75)).abs() < 1e-12);
        // Only the sums' half is beside the backward pass; the weights' half is in a measured update.
        let sharded = Gradient { shards_state: true, ..gradient };
        assert!((waits(20e9, sharded) - (0.3 - 0.075 * 0.75)).abs() < 1e-12);
        let gathers = Gradient { update_gathers: true, ..sharded };
        assert!((waits(20e9, gathers) - (0.15 - 0.075 * 0.75)).abs() < 1e-12);
        assert_eq!(waits(0.0, Gradient { world_size: 1, ..gradient }), 0.0);
    }

    #[test]
    fn machines_sum_by_all_adapters_and_pass_on_by_one() {
        // 234 GB/s within; eight adapters of 23 GB/s.
        let of = |world, per_machine| Network::of([234e9, 23e9], world, per_machine);
        assert_eq!((of(8, 8).all_reduce_bytes_per_sec, of(8, 8).ring_bytes_per_sec), (234e9, 234e9));
        assert_eq!((of(96, 8).all_reduce_bytes_per_sec, of(96, 8).ring_bytes_per_sec), (184e9, 23e9));
        assert_eq!(of(4, 1).all_reduce_bytes_per_sec, 23e9);
    }
}
