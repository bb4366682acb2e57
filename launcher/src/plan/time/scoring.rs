//! Score matrices, the loss and their gradients on a card.
//!
//! Scores are in float32. Legend: Q local queries, P all ranks' passages, U distinct tokens of the queries, Tq and Tp
//! their vectors, dm a vector's width, e bytes of a number.

use tercet_configs::ModelShape;
use tercet_configs::limits::TILE_ELEMENTS;

use super::counts::{
    BLOCK_LAUNCHES, LEXICAL, LEXICAL_BACK, LOSS, LOSS_DISTILLED, SCORING_LAUNCHES, SIMILARITY, TILE_LAUNCHES,
    WINNER_BACK_BYTES, WINNER_BYTES,
};
use super::speed::Speed;
use super::spent::Spent;
use crate::plan::work::RankLoad;

/// A rank's scores on a card.
pub struct Scoring<'a> {
    /// How fast the card is.
    pub speed: &'a Speed,
    /// The model.
    pub shape: &'a ModelShape,
    /// The rank's share.
    pub load: &'a RankLoad,
    /// P.
    pub num_global_passages: f64,
    /// W.
    pub world_size: usize,
    /// The step distils.
    pub distils: bool,
}

impl Scoring<'_> {
    /// Scores with the loss, and their gradients.
    pub fn passes(&self) -> [Spent; 2] {
        let heads = self.shape.heads;
        let all = [
            Some(self.dense()),
            heads.lexical.then(|| self.lexical()),
            heads.multi_vector.then(|| self.multi_vector()),
        ];
        let launches = (SCORING_LAUNCHES + BLOCK_LAUNCHES * (self.world_size as f64 - 1.0)) / 2.0;
        [0, 1].map(|way| {
            let heads: Spent = all.iter().flatten().map(|head| head[way]).sum();
            let loss = Spent { memory: self.loss() / 2.0, launches, ..Spent::default() };
            heads + loss
        })
    }

    fn e(&self) -> f64 {
        self.shape.element_bytes as f64
    }

    fn types(&self) -> [usize; 2] {
        [self.shape.compute_bytes, self.shape.element_bytes]
    }

    fn pairs(&self) -> f64 {
        self.load.num_queries * self.num_global_passages
    }

    /// A product of [Q, k] and [P, k], and those of its two gradients.
    fn product(&self, k: f64) -> [f64; 2] {
        let (q, p) = (self.load.num_queries, self.num_global_passages);
        let one = self.speed.product_in_float32(2.0 * q * p * k, self.e() * (q * k + p * k + q * p));
        [one, 2.0 * one]
    }

    fn dense(&self) -> [Spent; 2] {
        let products = self.product(self.shape.config.hidden_size as f64);
        products.map(|products| Spent { products, ..Spent::default() })
    }

    fn lexical(&self) -> [Spent; 2] {
        let products = self.product(self.load.query_vocabulary);
        let laid_out = self.num_global_passages * self.load.query_vocabulary;
        let memory = [LEXICAL, LEXICAL_BACK].map(|moved| self.speed.memory(moved.bytes(laid_out, self.types())));
        [0, 1].map(|way| Spent { products: products[way], memory: memory[way], ..Spent::default() })
    }

    fn multi_vector(&self) -> [Spent; 2] {
        let dim = self.shape.multi_vector_dim as f64;
        let queries = self.load.query_vectors;
        let passages = self.load.passage_vectors / self.load.num_passages.max(1.0) * self.num_global_passages;
        let (similarities, winners) = (queries * passages, queries * self.num_global_passages);
        let tiles = similarities / TILE_ELEMENTS as f64;
        // Passages are laid out with padding first, and a tile's are read for each tile of queries.
        let read = self.e() * dim * (2.0 * passages + queries);
        let forward = Spent {
            products: self.speed.product_in_float32(2.0 * similarities * dim, read),
            memory: self.speed.memory(SIMILARITY.bytes(similarities, self.types()) + WINNER_BYTES * winners),
            launches: TILE_LAUNCHES * tiles,
            ..Spent::default()
        };
        // Each winner's vector is read, and so is each query's for the vectors that it won.
        let vectors = 2.0 * self.e() * dim * winners;
        let backward = Spent { memory: self.speed.memory(vectors + WINNER_BACK_BYTES * winners), ..Spent::default() };
        [forward, backward]
    }

    /// Seconds, of all heads' scores, both ways.
    fn loss(&self) -> f64 {
        let moved = if self.distils { LOSS_DISTILLED } else { LOSS };
        self.speed.memory(moved.bytes(self.pairs() * self.shape.heads.num() as f64, self.types()))
    }
}

#[cfg(test)]
mod tests {
    use tercet_configs::LossPreset;

    use super::*;
    use crate::plan::time::layers::tests::large;
    use crate::plan::time::speed::tests::round;

    fn passes(preset: LossPreset, world_size: usize) -> [Spent; 2] {
        // 48 queries of 20 vectors, 384 passages of 250, 300 distinct tokens; 24 ranks.
        let load = RankLoad {
            num_queries: 48.0,
            num_passages: 384.0,
            query_vectors: 960.0,
            passage_vectors: 96_000.0,
            query_vocabulary: 300.0,
            ..RankLoad::default()
        };
        let (speed, shape) = (round(), large(preset));
        let scoring = Scoring {
            speed: &speed,
            shape: &shape,
            load: &load,
            num_global_passages: 9216.0,
            world_size,
            distils: false,
        };
        scoring.passes()
    }

    #[test]
    fn dense_scores_by_hand() {
        let [forward, backward] = passes(LossPreset::Dense, 24);
        // 2 · 48 · 9,216 · 1,024 at 10 TFLOP/s are 91 µs, and 39 MB at 1 TB/s 40 µs.
        assert!((forward.products - 2.0 * 48.0 * 9216.0 * 1024.0 / 10e12).abs() < 1e-12);
        assert!((backward.products - 2.0 * forward.products).abs() < 1e-12);
        // 30 passes of 4 bytes, in halves.
        assert!((forward.memory - 60.0 * 48.0 * 9216.0 / 1e12).abs() < 1e-12);
        assert_eq!(forward.launches + backward.launches, 192.0 + 23.0 * 72.0);
    }

    #[test]
    fn multi_vector_scores_by_hand() {
        let [alone, alone_back] = passes(LossPreset::Dense, 24);
        let [forward, backward] = passes(LossPreset::Unified, 24);
        // 960 · 2,304,000 similarities of 1,024, and weights of 300 tokens, in float32.
        let similarities = 960.0 * 2_304_000.0;
        let lexical = 2.0 * 48.0 * 9216.0 * 300.0 / 10e12;
        let products = alone.products + 2.0 * similarities * 1024.0 / 10e12 + lexical;
        assert!((forward.products - products).abs() < 1e-9, "{forward:?}");
        let winners = 960.0 * 9216.0;
        let others = 12.0 * 9216.0 * 300.0 + 2.0 * 60.0 * 48.0 * 9216.0;
        let memory = alone.memory + (20.0 * similarities + 40.0 * winners + others) / 1e12;
        assert!((forward.memory - memory).abs() < 1e-9, "{forward:?}");
        let others = 24.0 * 9216.0 * 300.0 + 2.0 * 60.0 * 48.0 * 9216.0;
        let memory = alone_back.memory + ((8192.0 + 190.0) * winners + others) / 1e12;
        assert!((backward.memory - memory).abs() < 1e-9, "{backward:?}");
    }
}
