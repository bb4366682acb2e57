//! Peak memory of a rank and what it is made of, phase by phase of a step: what the worker's `step/`, `scoring/`,
//! `model/layer.rs` and `model/pretraining/` hold at once.
//!
//! On the CPU it is resident memory, held against real runs (docs/measured/now.md). On a GPU it is an estimate that has
//! never been compared with one: the allocator's fragmentation is not in it.

mod contrastive;
mod fit;
mod pretraining;
mod rank_in_step;

use serde::Serialize;
use tercet_configs::Purpose;

pub use fit::Fit;
pub use rank_in_step::{Part, RankInStep};

/// The most that a rank holds at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeakMemory {
    /// The phase of a step in which that is.
    pub phase: &'static str,
    /// The sum of the parts.
    pub total_bytes: f64,
    /// What it is made of; together the peak.
    pub parts: Vec<Part>,
}

impl PeakMemory {
    /// The phase that needs most, and its parts.
    pub fn of(rank: &RankInStep) -> Self {
        let phases = match rank.shape.purpose {
            Purpose::Retrieval => contrastive::phases(rank),
            Purpose::Pretraining { decoder } => pretraining::phases(rank, decoder),
        };
        let totals = phases.into_iter().map(|(phase, parts)| {
            let parts = rank.always().into_iter().chain(parts).filter(|part| part.bytes > 0.0);
            let parts: Vec<Part> = parts.collect();
            Self { phase, total_bytes: parts.iter().map(|part| part.bytes).sum(), parts }
        });
        // There are several of them.
        totals.max_by(|a, b| a.total_bytes.total_cmp(&b.total_bytes)).expect("a step has phases")
    }

    /// Without what a program and its libraries take for themselves.
    pub fn bytes_of_tensors(&self) -> f64 {
        let is_tensor = |part: &&Part| ![rank_in_step::PROGRAM, rank_in_step::UNEVEN_PARTS].contains(&part.name);
        self.parts.iter().filter(is_tensor).map(|part| part.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use tercet_configs::{Device, ModelShape};

    use super::*;
    use crate::plan::predicted::Predicted;
    use crate::plan::shape_of_tests::{pretraining_shape, shape};
    use crate::plan::work::{Encoded, RankLoad};

    fn peak(shape: &ModelShape, load: &RankLoad, world_size: usize) -> PeakMemory {
        let rank = RankInStep {
            shape,
            device: Device::Cuda,
            world_size,
            load,
            num_global_passages: 4.0,
            keeps_snapshot: false,
            distils: false,
            shards_state: false,
        };
        PeakMemory::of(&rank)
    }

    fn bytes(memory: &PeakMemory, name: &str) -> f64 {
        memory.parts.iter().find(|part| part.name == name).map_or(0.0, |part| part.bytes)
    }

    #[test]
    fn a_large_sub_batch_is_the_peak_and_is_counted_by_hand() {
        let shape = shape(false);
        let texts = Encoded { num_texts: 10.0, tokens: 1e6, squares: 1e11, ..Encoded::default() };
        let load = RankLoad { encoded: texts, largest: texts, largest_recomputed: texts, ..RankLoad::default() };
        let memory = peak(&shape, &load, 1);
        assert_eq!(memory.phase, "second pass");
        // d 8, ffn 16, 2 heads: a layer keeps 8·8 + 16 + 2 + 4 floats of a token, the last one 3·8, the embedding 8; of
        // a text the last keeps 5·8 + 16 + 4.
        assert_eq!(bytes(&memory, "graph of one sub-batch"), 4.0 * (1e6 * (86.0 + 24.0 + 8.0) + 10.0 * 60.0));
        assert_eq!(bytes(&memory, "weights"), 4.0 * shape.num_parameters as f64);
        assert_eq!(bytes(&memory, "AdamW's two moments"), 8.0 * shape.num_parameters as f64);
        assert_eq!(memory.total_bytes, memory.parts.iter().map(|part| part.bytes).sum::<f64>());
    }

    #[test]
    fn kept_graphs_add_up_and_in_bfloat16_are_half_but_for_the_embeddings() {
        let mut shape = shape(true);
        let kept = Encoded { num_texts: 10.0, tokens: 1e6, squares: 1e8, ..Encoded::default() };
        let load = RankLoad { encoded: kept, kept, largest: kept, ..RankLoad::default() };
        // Two layers, the last output and the embedding.
        assert_eq!(bytes(&peak(&shape, &load, 1), "kept graphs"), 4.0 * 1e6 * (2.0 * 86.0 + 16.0));
        shape.compute_bytes = 2;
        let memory = peak(&shape, &load, 1);
        assert_eq!(bytes(&memory, "kept graphs"), 2.0 * 1e6 * (2.0 * 86.0 + 8.0) + 4.0 * 1e6 * 8.0);
        assert_eq!(bytes(&memory, "the encoder's bfloat16 weights"), 2.0 * shape.num_parameters as f64);
    }

    #[test]
    fn large_score_matrices_are_the_peak_of_the_loss() {
        let load = RankLoad { num_queries: 1e5, num_passages: 1e5, ..RankLoad::default() };
        let shape = shape(false);
        let rank = RankInStep {
            shape: &shape,
            device: Device::Cuda,
            world_size: 2,
            load: &load,
            num_global_passages: 2e5,
            keeps_snapshot: false,
            distils: false,
            shards_state: false,
        };
        let memory = PeakMemory::of(&rank);
        assert_eq!(memory.phase, "scores and loss");
        assert_eq!(bytes(&memory, "score matrices"), 4.0 * 1e5 * 2e5 * 6.0);
    }

    #[test]
    fn pre_training_holds_one_sub_batch_and_one_tile_of_logits() {
        let shape = pretraining_shape();
        let predicted = Predicted { encoder_labels: 3e5, decoder_labels: 9e5, decoder_pairs: 9e10 };
        let largest = Encoded { num_texts: 10.0, tokens: 1e6, squares: 1e11, predicted, ..Encoded::default() };
        let all = Encoded { tokens: 5e6, ..largest };
        let memory = peak(&shape, &RankLoad { encoded: all, kept: all, largest, ..RankLoad::default() }, 1);
        assert_eq!(memory.phase, "words of the decoder");
        // A layer as above, for all tokens; the last output and the embedding are 2·8.
        assert_eq!(bytes(&memory, "saved layers of one sub-batch"), 4.0 * 1e6 * (2.0 * 86.0 + 16.0));
        assert_eq!(bytes(&memory, "hidden states and their gradient"), 4.0 * 1e6 * 16.0);
        // Seven times d and the feed-forward layer's 16 of a row, 4·8 of a token.
        assert_eq!(bytes(&memory, "the decoder's saved layer"), 4.0 * (9e5 * 72.0 + 1e6 * 32.0));
        assert_eq!(bytes(&memory, "labels' rows"), 4.0 * 9e5 * 40.0);
        // All rows with 100 words are one tile, and there is as much again for exponentials.
        assert_eq!(bytes(&memory, "logits"), 2.0 * 400.0 * 9e5);
        assert_eq!(bytes(&memory, "tiles of the decoder's attention"), 5.0 * 4.0 * f64::from(1 << 25));
    }
}
