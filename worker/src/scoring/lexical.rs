//! Lexical scores: s[q, p] = Σ over tokens in both texts of w_q · w_p.
//!
//! Only tokens of the local queries can contribute, so weights are laid out over that small vocabulary (U distinct
//! tokens) and never over the model's. Passages are processed in tiles, so the [tile, U] buffer is bounded too.
//!
//! Legend: Q queries, P passages, U distinct tokens of the queries, S (text, token) pairs of a block.

use tch::{Kind, Tensor};
use tercet_configs::limits::TILE_ELEMENTS;

use crate::model::representation::{Lexical, owners};

/// The local queries, laid out over their own vocabulary.
pub struct Queries {
    /// Their distinct tokens, ascending, int64 `[U]`.
    vocabulary: Tensor,
    /// The flat index of each of the queries' S pairs in [Q, U], int64 `[S]`.
    at: Tensor,
    /// Weights, [Q, U].
    weights: Tensor,
}

impl Queries {
    /// Lays out the queries' weights.
    pub fn new(lexical: &Lexical) -> Self {
        let num_queries = lexical.offsets.len() as i64 - 1;
        let mut ids = Vec::<i64>::try_from(&lexical.token_ids).expect("token ids are one-dimensional int64");
        ids.sort_unstable();
        ids.dedup();
        let device = lexical.token_ids.device();
        let vocabulary = Tensor::from_slice(&ids).to_device(device); // [U]
        let column = lexical.token_ids.searchsorted(&vocabulary, false, false, "left", None::<&Tensor>);
        let row = Tensor::from_slice(&owners(&lexical.offsets)).to_device(device);
        let width = ids.len() as i64;
        let at = row * width + column; // [S]
        let weights = Tensor::zeros([num_queries * width], (lexical.weights.kind(), device));
        let weights = weights.index_copy(0, &at, &lexical.weights).view([num_queries, width]);
        Self { vocabulary, at, weights }
    }

    /// [Q, P] against a block of passages.
    pub fn forward(&self, passages: &Lexical) -> Tensor {
        let num_passages = passages.offsets.len() as i64 - 1;
        let scores =
            Tensor::zeros([self.weights.size()[0], num_passages], (self.weights.kind(), self.weights.device()));
        for tile in self.tiles(passages) {
            let mut columns = scores.narrow(1, tile.first, tile.count);
            columns.copy_(&self.weights.matmul(&tile.weights(passages).tr()));
        }
        scores
    }

    /// Adds the gradients from `d_scores` [Q, P] to `d_queries` [S of the queries] and `d_passages` [S of the block].
    pub fn backward(&self, passages: &Lexical, d_scores: &Tensor, d_queries: &mut Tensor, d_passages: &mut Tensor) {
        let mut d_weights = self.weights.zeros_like(); // [Q, U]
        for tile in self.tiles(passages) {
            let d_tile = d_scores.narrow(1, tile.first, tile.count); // [Q, tile]
            let _ = d_weights.g_add_(&d_tile.matmul(&tile.weights(passages)));
            let d_columns = d_tile.tr().matmul(&self.weights).flatten(0, 1); // [tile·U]
            let _ = d_passages.index_add_(0, &tile.pairs, &d_columns.index_select(0, &tile.at));
        }
        let _ = d_queries.g_add_(&d_weights.flatten(0, 1).index_select(0, &self.at));
    }

    fn tiles<'a>(&'a self, passages: &'a Lexical) -> impl Iterator<Item = Tile> + 'a {
        let width = self.vocabulary.size()[0].max(1) as usize;
        let num_passages = passages.offsets.len() - 1;
        let tile = (TILE_ELEMENTS / width).max(1);
        (0..num_passages).step_by(tile).map(move |first| self.tile(passages, first, (first + tile).min(num_passages)))
    }

    fn tile(&self, passages: &Lexical, first: usize, end: usize) -> Tile {
        let width = self.vocabulary.size()[0];
        let (from, to) = (passages.offsets[first] as i64, passages.offsets[end] as i64);
        let device = passages.token_ids.device();
        let ids = passages.token_ids.narrow(0, from, to - from);
        let row = Tensor::from_slice(&owners(&passages.offsets[first..=end])).to_device(device);
        let (shared, column) = if width == 0 {
            (ids.zeros_like().to_kind(Kind::Bool), ids.zeros_like())
        } else {
            let column = ids.searchsorted(&self.vocabulary, false, false, "left", None::<&Tensor>);
            let column = column.clamp_max(width - 1);
            (self.vocabulary.index_select(0, &column).eq_tensor(&ids), column)
        };
        let own = shared.nonzero().squeeze_dim(-1); // pairs of the tile whose token a query has
        let at = row.index_select(0, &own) * width + column.index_select(0, &own);
        Tile { first: first as i64, count: (end - first) as i64, width, pairs: own + from, at }
    }
}

/// Passages `first..first + count` of a block, with the pairs whose tokens the queries share.
struct Tile {
    first: i64,
    count: i64,
    width: i64,
    /// The shared pairs' indices in the block's weights, int64 `[K]`.
    pairs: Tensor,
    /// The flat index of each in [count, U], int64 `[K]`.
    at: Tensor,
}

impl Tile {
    /// [count, U].
    fn weights(&self, passages: &Lexical) -> Tensor {
        let own = passages.weights.index_select(0, &self.pairs);
        let zeros = Tensor::zeros([self.count * self.width], (own.kind(), own.device()));
        zeros.index_copy(0, &self.at, &own).view([self.count, self.width])
    }
}
