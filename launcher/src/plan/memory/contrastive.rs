//! What a step of contrastive learning holds: representations, scores, and graphs that the first pass keeps.
//!
//! Legend: Q local queries, P all ranks' passages.

use tercet_configs::limits::TILE_ELEMENTS;

use super::rank_in_step::{Part, Phase, RankInStep, bytes_of, part};
use crate::plan::traffic::{block_bytes, gradient_bytes};

/// A shared (passage, token) pair's two places, which scoring keeps for its way back.
const SHARED_PAIR_BYTES: f64 = 16.0;

/// Its phases, and what each of them holds.
pub(super) fn phases(rank: &RankInStep) -> Vec<Phase> {
    let after = rank.after_passes(&rank.after_scores());
    let passes = [rank.first_pass(), rank.scores_and_loss(), rank.score_backward(), rank.second_pass()];
    passes.into_iter().chain(after).collect()
}

/// What scoring takes, representations and tiles included.
pub(super) fn scoring(rank: &RankInStep) -> f64 {
    let phases = [rank.scores_and_loss(), rank.score_backward()];
    phases.iter().map(|(_, parts)| bytes_of(parts)).fold(0.0, f64::max) + rank.similarity_tiles()
}

impl RankInStep<'_> {
    fn first_pass(&self) -> Phase {
        let load = self.load;
        let transient = self.transient_forward(&load.largest);
        let mut parts = vec![part("representations", self.representations())];
        parts.push(part("kept graphs", self.graph(&load.kept)));
        parts.push(part("activations of one sub-batch", transient));
        ("first pass", parts)
    }

    fn scores_and_loss(&self) -> Phase {
        let mut parts = self.around_scores();
        parts.push(part("score matrices", self.score_matrix() * self.matrices_in_loss()));
        parts.push(part("multi-vector winners", self.winners()));
        ("scores and loss", parts)
    }

    fn score_backward(&self) -> Phase {
        let mut parts = self.around_scores();
        parts.push(part("gradients of representations", self.representations()));
        parts.push(part("score matrices", self.score_matrix() * 2.0 * self.num_heads()));
        parts.push(part("multi-vector winners", self.winners()));
        parts.push(part("temporaries of scoring", self.scoring_temporaries()));
        ("scores backward", parts)
    }

    fn second_pass(&self) -> Phase {
        let load = self.load;
        // Kept graphs go first: they are there while the first of them is walked back, and gone when others are built.
        let kept = self.graph(&load.kept);
        let recomputed = self.graph(&load.largest_recomputed);
        let backward = self.transient_backward(&load.largest);
        let representations = self.representations();
        let parts = vec![
            part("representations", representations),
            part("gradients of representations", 2.0 * representations),
            part("score matrices", self.score_matrix() * 2.0 * self.num_heads()),
            part(if kept > recomputed { "kept graphs" } else { "graph of one sub-batch" }, kept.max(recomputed)),
            part("activations of one sub-batch", backward),
        ];
        ("second pass", parts)
    }

    /// What a step still holds when its gradient is complete.
    fn after_scores(&self) -> [Part; 3] {
        let representations = self.representations();
        [
            part("representations", representations),
            part("gradients of representations", 2.0 * representations),
            part("score matrices", self.score_matrix() * self.num_heads()),
        ]
    }

    /// What is there from the first trip round the ring to the second.
    fn around_scores(&self) -> Vec<Part> {
        // A block that visits, and the next one as it arrives.
        let visiting = if self.world_size > 1 { 2.0 * block_bytes(self.shape, self.load) } else { 0.0 };
        // Gradients that leave and that arrive, besides the ones computed.
        let passing = if self.world_size > 1 { 2.0 * gradient_bytes(self.shape, self.load) } else { 0.0 };
        vec![
            part("kept graphs", self.graph(&self.load.kept)),
            part("representations", self.representations()),
            part("passages on their way", visiting + passing),
            part("places of shared tokens", self.shared_pairs()),
        ]
    }

    /// The places of the tokens that all ranks' passages share with the local queries; other ranks' passages count like
    /// own ones.
    fn shared_pairs(&self) -> f64 {
        let all = self.load.shared_pairs * self.world_size as f64;
        if self.shape.heads.lexical { SHARED_PAIR_BYTES * all } else { 0.0 }
    }

    fn num_heads(&self) -> f64 {
        self.shape.heads.num() as f64
    }

    /// One [Q, P].
    fn score_matrix(&self) -> f64 {
        self.e() * self.load.num_queries * self.num_global_passages
    }

    /// Score matrices that are alive together while the loss is walked back. Each head has its scores, divided by the
    /// temperature, and the logarithm of their softmax; so has the hybrid but for the division. Distillation adds the
    /// teacher, and for each head another softmax and its product with the teacher. Gradients come on top.
    fn matrices_in_loss(&self) -> f64 {
        const GRADIENTS: f64 = 3.0;
        let heads = self.num_heads();
        let hybrid = if heads > 1.0 { 2.0 } else { 0.0 };
        let distilled = if self.distils && heads > 1.0 { 1.0 + heads } else { 0.0 };
        3.0 * heads + hybrid + distilled + GRADIENTS
    }

    /// int32 for every local query vector and passage.
    fn winners(&self) -> f64 {
        if self.shape.heads.multi_vector { 4.0 * self.load.query_vectors * self.num_global_passages } else { 0.0 }
    }

    /// Tiles, and what finds the winners' sums.
    fn scoring_temporaries(&self) -> f64 {
        let block = self.load.num_passages;
        let lexical = if self.shape.heads.lexical {
            let weights = self.load.num_queries * self.load.query_vocabulary;
            self.e() * (2.0 * weights + 2.0 * (TILE_ELEMENTS as f64).min(block * self.load.query_vocabulary))
        } else {
            0.0
        };
        // Winner, its clamp, order, sorted and query in int64, three gradients.
        let pairs = (TILE_ELEMENTS as f64).min(self.load.query_vectors * block);
        let multi_vector = if self.shape.heads.multi_vector { pairs * (5.0 * 8.0 + 3.0 * self.e()) } else { 0.0 };
        lexical + multi_vector
    }

    /// All texts' dense vectors, lexical weights with their token ids, and multi-vectors.
    fn representations(&self) -> f64 {
        let (load, heads) = (self.load, self.shape.heads);
        let texts = load.num_queries + load.num_passages;
        let dense = texts * self.shape.config.hidden_size as f64;
        let lexical =
            if heads.lexical { (load.query_pairs + load.passage_pairs) * (1.0 + 8.0 / self.e()) } else { 0.0 };
        let vectors = load.query_vectors + load.passage_vectors;
        let multi_vector = if heads.multi_vector { vectors * self.shape.multi_vector_dim as f64 } else { 0.0 };
        self.e() * (dense + lexical + multi_vector)
    }
}
