//! Bytes that a rank hands to the collectives in one step, as `worker/src/step` and `worker/src/scoring` send them, and
//! what of them goes over the wire.
//!
//! Legend: W ranks, a *block* one rank's passages, e bytes of an element.

use serde::Serialize;
use tercet_configs::limits::{LABEL_COUNTS, LOSS_NUMBERS, PREDICTION_NUMBERS};
use tercet_configs::{ModelShape, Purpose, RingPrecision};

use super::work::RankLoad;

/// An int64: a token id, a length, a count.
const INT_BYTES: f64 = 8.0;

/// A float64: a part of the loss.
const DOUBLE_BYTES: f64 = 8.0;

/// Bytes per rank and step, the mean over ranks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepTraffic {
    /// Handed to all-reduces: the gradient, the loss's parts, and in pre-training the numbers of labels.
    pub all_reduce_bytes: f64,
    /// Handed to the ring: passage blocks, and their gradients.
    pub ring_bytes: f64,
    /// `ring_bytes`' part: passage blocks on both trips.
    pub ring_block_bytes: f64,
    /// `ring_bytes`' part: the blocks' gradients.
    pub ring_gradient_bytes: f64,
    /// `ring_bytes`' part: score matrices that a two-way loss transposes.
    pub ring_score_bytes: f64,
    /// Handed to all-gathers: counts, how long the passages' parts are, and what the texts' identities are.
    pub gather_bytes: f64,
}

impl StepTraffic {
    /// The traffic of a step with these loads, one per rank, whose passages travel in the type `ring`; `masks` where
    /// known answers are left out of the negatives.
    pub fn of(shape: &ModelShape, ranks: &[RankLoad], ring: RingPrecision, two_way: bool, masks: bool) -> Self {
        let gradient = (shape.element_bytes * shape.num_parameters) as f64;
        if shape.purpose != Purpose::Retrieval {
            // Nothing couples texts: no rank needs another's.
            let numbers = INT_BYTES * LABEL_COUNTS as f64 + DOUBLE_BYTES * PREDICTION_NUMBERS as f64;
            return Self { all_reduce_bytes: gradient + numbers, ..Self::default() };
        }
        let world = ranks.len() as f64;
        let e = shape.element_bytes as f64;
        let others = world - 1.0;
        let mean = |bytes: &dyn Fn(&RankLoad) -> f64| ranks.iter().map(bytes).sum::<f64>() / world;
        let num_heads = shape.heads.num() as f64;
        let num_queries: f64 = ranks.iter().map(|rank| rank.num_queries).sum();
        let travels = ranks.len() > 1;

        // Each trip has W − 1 hops of a block; gradients make one more and are home.
        let sent = ModelShape { element_bytes: ring.bytes_of(shape.element_bytes), ..shape.clone() };
        let ring_block_bytes = 2.0 * others * mean(&|rank| block_bytes(&sent, rank));
        let ring_gradient_bytes = if travels { world * mean(&|rank| gradient_bytes(&sent, rank)) } else { 0.0 };
        // There and back, W − 1 hops each of [Q, all queries].
        let transposed = if two_way { 2.0 * num_heads * others } else { 0.0 };
        let ring_score_bytes = transposed * mean(&|rank| e * rank.num_queries * num_queries);
        let counts = if two_way { 3.0 } else { 1.0 };
        let ragged_heads = num_heads - 1.0;
        let lengths = ragged_heads * mean(&|rank| rank.num_passages);
        // How many numbers; the number of queries, and each query's number of positives; queries, passages and
        // positives.
        let identities = mean(&|rank| 2.0 + 2.0 * rank.num_queries + rank.num_passages + rank.num_positives);
        let identities = if masks { identities } else { 0.0 };
        Self {
            all_reduce_bytes: gradient + DOUBLE_BYTES * LOSS_NUMBERS as f64,
            ring_bytes: ring_block_bytes + ring_gradient_bytes + ring_score_bytes,
            ring_block_bytes,
            ring_gradient_bytes,
            ring_score_bytes,
            // Texts of the block; for a two-way loss queries and group size.
            gather_bytes: INT_BYTES * (counts + lengths + identities),
        }
    }

    /// All that a rank sends.
    pub fn sent_bytes(&self, world_size: usize) -> f64 {
        self.all_reduce_sent_bytes(world_size) + self.ring_bytes + self.gather_bytes * (world_size as f64 - 1.0)
    }

    /// What a rank sends for its all-reduces with the ring algorithm, which no algorithm undercuts.
    pub fn all_reduce_sent_bytes(&self, world_size: usize) -> f64 {
        let world = world_size as f64;
        2.0 * (world - 1.0) / world * self.all_reduce_bytes
    }
}

/// A block: dense vectors; lexical token ids and weights; multi-vectors.
pub fn block_bytes(shape: &ModelShape, rank: &RankLoad) -> f64 {
    let token_ids = if shape.heads.lexical { INT_BYTES * rank.passage_pairs } else { 0.0 };
    gradient_bytes(shape, rank) + token_ids
}

/// The gradients of a block: a number for each of its numbers.
pub fn gradient_bytes(shape: &ModelShape, rank: &RankLoad) -> f64 {
    let dense = rank.num_passages * shape.config.hidden_size as f64;
    let lexical = if shape.heads.lexical { rank.passage_pairs } else { 0.0 };
    let multi_vector =
        if shape.heads.multi_vector { rank.passage_vectors * shape.multi_vector_dim as f64 } else { 0.0 };
    shape.element_bytes as f64 * (dense + lexical + multi_vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::shape_of_tests::{pretraining_shape, shape};

    fn rank(num_queries: f64, passage_vectors: f64, passage_pairs: f64) -> RankLoad {
        RankLoad {
            num_queries,
            num_passages: 2.0,
            num_positives: 3.0,
            passage_vectors,
            passage_pairs,
            ..RankLoad::default()
        }
    }

    #[test]
    fn one_rank_sends_nothing_round_a_ring() {
        let traffic = StepTraffic::of(&shape(true), &[rank(2.0, 9.0, 7.0)], RingPrecision::Full, true, false);
        assert_eq!((traffic.ring_bytes, traffic.all_reduce_sent_bytes(1)), (0.0, 0.0));
    }

    #[test]
    fn pre_training_sums_its_gradient_two_counts_and_eight_numbers() {
        let shape = pretraining_shape();
        let traffic = StepTraffic::of(&shape, &[rank(2.0, 0.0, 0.0); 3], RingPrecision::Full, false, true);
        let all_reduce_bytes = 4.0 * shape.num_parameters as f64 + 16.0 + 64.0;
        assert_eq!(traffic, StepTraffic { all_reduce_bytes, ..StepTraffic::default() });
    }

    #[test]
    fn dense_blocks_of_three_ranks_by_hand() {
        let shape = shape(false);
        let traffic = StepTraffic::of(&shape, &[rank(2.0, 9.0, 7.0); 3], RingPrecision::Full, false, false);
        // A block is 2 · 8 floats: 64 bytes. Two trips of two hops; its gradient three.
        assert_eq!((traffic.ring_block_bytes, traffic.ring_gradient_bytes), (256.0, 192.0));
        assert_eq!((traffic.ring_bytes, traffic.gather_bytes), (448.0, 8.0));
        assert_eq!(traffic.all_reduce_bytes, 4.0 * shape.num_parameters as f64 + 64.0);
        assert_eq!(traffic.all_reduce_sent_bytes(3), traffic.all_reduce_bytes * 4.0 / 3.0);
    }

    #[test]
    fn all_heads_of_two_ranks_by_hand() {
        let ranks = [rank(2.0, 9.0, 7.0), rank(4.0, 11.0, 5.0)];
        let traffic = StepTraffic::of(&shape(true), &ranks, RingPrecision::Full, true, true);
        // Gradients: 4 · (16 + 7 + 9·4) = 236 and 4 · (16 + 5 + 11·4) = 260; blocks have 8 more for each pair.
        assert_eq!(traffic.ring_gradient_bytes, 236.0 + 260.0);
        assert_eq!(traffic.ring_block_bytes, 2.0 * (236.0 + 56.0 + 260.0 + 40.0) / 2.0);
        // Three heads there and back, one hop: rows of 6 floats, 2 and 4 of them.
        assert_eq!(traffic.ring_score_bytes, 6.0 * (2.0 * 24.0 + 4.0 * 24.0) / 2.0);
        // Three counts; 2 passages' lengths for two heads; two counts, 2 and 4 queries twice, 2 passages and 3
        // positives each.
        assert_eq!(traffic.gather_bytes, 8.0 * (3.0 + 4.0 + 2.0 + 6.0 + 2.0 + 3.0));
        // In bfloat16 half of the numbers' bytes, and token ids as ever.
        let halved = StepTraffic::of(&shape(true), &ranks, RingPrecision::Bf16, true, true);
        assert_eq!(halved.ring_gradient_bytes, 118.0 + 130.0);
        assert_eq!(halved.ring_block_bytes, 2.0 * (118.0 + 56.0 + 130.0 + 40.0) / 2.0);
        assert_eq!(halved.ring_score_bytes, traffic.ring_score_bytes);
    }
}
