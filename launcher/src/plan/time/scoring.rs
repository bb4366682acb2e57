//! Score matrices, the loss and their gradients on a card.
//!
//! Scores are in float32; winners of multi-vectors are found by products in the encoder's type. Legend: Q local
//! queries, P all ranks' passages, U distinct tokens of the queries, Tq and Tp their vectors, dm a vector's width, e
//! bytes of a number.

use tercet_configs::ModelShape;
use tercet_configs::limits::{GATHERED_ELEMENTS, SIMILARITY_TILE_ELEMENTS};

use super::counts::{
    BLOCK_LAUNCHES, GATHER_LAUNCHES, LEXICAL, LEXICAL_BACK, LOSS, LOSS_DISTILLED, PADDED, SCORING_LAUNCHES, SIMILARITY,
    TILE_LAUNCHES, WINNER_BACK_BYTES, WINNER_BYTES, WON,
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
        // Launches for the first tile of each rank's passages, and what is gathered there, are a block's.
        let beyond = |all: f64, at_a_time: usize| (all / at_a_time as f64 - self.world_size as f64).max(0.0);
        let launches = TILE_LAUNCHES * beyond(similarities, SIMILARITY_TILE_ELEMENTS[1])
            + GATHER_LAUNCHES * beyond(winners * dim, GATHERED_ELEMENTS);
        let bytes = self.shape.compute_bytes as f64 * dim * (passages + queries) + self.e() * similarities;
        let moved = SIMILARITY.bytes(similarities, self.types())
            + PADDED.bytes(dim * passages, self.types())
            + WON.bytes(dim * winners, self.types())
            + WINNER_BYTES * winners;
        let forward = Spent {
            products: self.speed.product(2.0 * similarities * dim, bytes),
            memory: self.speed.memory(moved),
            launches,
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
        assert_eq!(forward.launches + backward.launches, 189.0 + 23.0 * 71.0);
    }

    #[test]
    fn multi_vector_scores_by_hand() {
        let [alone, alone_back] = passes(LossPreset::Dense, 24);
        let [forward, backward] = passes(LossPreset::Unified, 24);
        // 960 · 2,304,000 similarities of 1,024 in bfloat16, and weights of 300 tokens in float32.
        let similarities = 960.0 * 2_304_000.0;
        let lexical = 2.0 * 48.0 * 9216.0 * 300.0 / 10e12;
        let products = alone.products + 2.0 * similarities * 1024.0 / 100e12 + lexical;
        assert!((forward.products - products).abs() < 1e-9, "{forward:?}");
        let winners = 960.0 * 9216.0;
        let others = 12.0 * 9216.0 * 300.0 + 2.0 * 60.0 * 48.0 * 9216.0;
        // Vectors are read in float32, and written, read and written in bfloat16; those that win three times in
        // float32.
        let vectors = 1024.0 * (10.0 * 2_304_000.0 + 12.0 * winners);
        let memory = alone.memory + (4.0 * similarities + vectors + 40.0 * winners + others) / 1e12;
        assert!((forward.memory - memory).abs() < 1e-9, "{forward:?}");
        let others = 24.0 * 9216.0 * 300.0 + 2.0 * 60.0 * 48.0 * 9216.0;
        let memory = alone_back.memory + ((8192.0 + 190.0) * winners + others) / 1e12;
        assert!((backward.memory - memory).abs() < 1e-9, "{backward:?}");
        // 33.0 tiles and 135.0 gatherings, of which 24 are the blocks' own.
        let (tiles, gathered) = (similarities / 67_108_864.0, winners * 1024.0 / 67_108_864.0);
        let launches = TILE_LAUNCHES * (tiles - 24.0) + GATHER_LAUNCHES * (gathered - 24.0);
        assert!((forward.launches - alone.launches - launches).abs() < 1e-9, "{forward:?}");
    }
}
