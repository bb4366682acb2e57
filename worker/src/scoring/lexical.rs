//! Lexical scores: s[q, p] = Σ over tokens in both texts of w_q · w_p.
//!
//! Only tokens of the local queries can contribute, so weights are laid out over that small vocabulary (U distinct
//! tokens) and never over the model's. Passages are processed in tiles, so the [tile, U] buffer is bounded too. Which
//! pairs of a tile share a token with a query is found once, and kept from scores to gradients.
//!
//! Legend: Q queries, P passages, U distinct tokens of the queries, S (text, token) pairs of a block.

use tch::{Kind, Tensor};
use tercet_configs::limits::TILE_ELEMENTS;

use crate::model::representation::{Lexical, owners};
use crate::tensors::upload::{Upload, upload};

/// The local queries, laid out over their own vocabulary.
pub struct Queries {
    /// Their distinct tokens, ascending, int64 `[U]`.
    vocabulary: Tensor,
    /// The same on the host.
    host_vocabulary: Vec<i64>,
    /// The flat index of each of the queries' S pairs in [Q, U], int64 `[S]`.
    at: Tensor,
    /// Weights, [Q, U].
    weights: Tensor,
}

impl Queries {
    /// Lays out the queries' weights.
    ///
    /// # Panics
    /// If they are another rank's.
    pub fn new(lexical: &Lexical) -> Self {
        let num_queries = lexical.offsets.len() as i64 - 1;
        let ids = lexical.host_ids.as_ref().expect("the queries are this rank's");
        let mut host_vocabulary = ids.clone();
        host_vocabulary.sort_unstable();
        host_vocabulary.dedup();
        let width = host_vocabulary.len() as i64;
        let column = |id| host_vocabulary.partition_point(|known| known < id) as i64;
        let at: Vec<i64> = owners(&lexical.offsets).iter().zip(ids).map(|(row, id)| row * width + column(id)).collect();
        let mut upload = Upload::default();
        let [vocabulary, at] = [&host_vocabulary, &at].map(|values| upload.add(values));
        let device = lexical.token_ids.device();
        let sent = upload.send(device);
        let (vocabulary, at) = (sent.of(&vocabulary), sent.of(&at)); // [U], [S]
        let weights = Tensor::zeros([num_queries * width], (lexical.weights.kind(), device));
        let weights = weights.index_copy(0, &at, &lexical.weights).view([num_queries, width]);
        Self { vocabulary, host_vocabulary, at, weights }
    }

    /// [Q, P] against a block of passages, and what [`Queries::backward`] needs again.
    pub fn forward(&self, passages: &Lexical) -> (Tensor, Tiles) {
        let num_passages = passages.offsets.len() as i64 - 1;
        let scores =
            Tensor::zeros([self.weights.size()[0], num_passages], (self.weights.kind(), self.weights.device()));
        let tiles: Vec<Tile> = self.tiles(passages).collect();
        for tile in &tiles {
            let mut columns = scores.narrow(1, tile.first, tile.count);
            columns.copy_(&self.weights.matmul(&tile.weights(passages).tr()));
        }
        (scores, Tiles(tiles))
    }

    /// Adds the gradients from `d_scores` [Q, P] to `d_queries` [S of the queries] and `d_passages` [S of the block].
    pub fn backward(
        &self,
        (passages, tiles): (&Lexical, &Tiles),
        d_scores: &Tensor,
        (d_queries, d_passages): (&mut Tensor, &mut Tensor),
    ) {
        let mut d_weights = self.weights.zeros_like(); // [Q, U]
        for tile in &tiles.0 {
            let d_tile = d_scores.narrow(1, tile.first, tile.count); // [Q, tile]
            let _ = d_weights.g_add_(&d_tile.matmul(&tile.weights(passages)));
            let d_columns = d_tile.tr().matmul(&self.weights).flatten(0, 1); // [tile·U]
            let _ = d_passages.index_add_(0, &tile.pairs, &d_columns.index_select(0, &tile.at));
        }
        let _ = d_queries.g_add_(&d_weights.flatten(0, 1).index_select(0, &self.at));
    }

    fn tiles<'a>(&'a self, passages: &'a Lexical) -> impl Iterator<Item = Tile> + 'a {
        let width = self.host_vocabulary.len().max(1);
        let num_passages = passages.offsets.len() - 1;
        let tile = (TILE_ELEMENTS / width).max(1);
        (0..num_passages).step_by(tile).map(move |first| self.tile(passages, first, (first + tile).min(num_passages)))
    }

    fn tile(&self, passages: &Lexical, first: usize, end: usize) -> Tile {
        let width = self.host_vocabulary.len() as i64;
        let [pairs, at] = match &passages.host_ids {
            Some(ids) => self.shared_by_host(ids, &passages.offsets[first..=end]),
            None => self.shared_on_device(&passages.token_ids, &passages.offsets[first..=end]),
        };
        Tile { first: first as i64, count: (end - first) as i64, width, pairs, at }
    }

    /// [`Tile::pairs`] and [`Tile::at`] of passages that begin at `offsets`, from ids on the host, so that nobody waits
    /// for the device to learn their number.
    fn shared_by_host(&self, ids: &[i64], offsets: &[usize]) -> [Tensor; 2] {
        let (from, width) = (offsets[0], self.host_vocabulary.len() as i64);
        let rows = owners(offsets);
        let pair = |(place, id): (usize, &i64)| {
            let column = self.host_vocabulary.binary_search(id).ok()? as i64;
            Some(((from + place) as i64, rows[place] * width + column))
        };
        let own = &ids[from..offsets[offsets.len() - 1]];
        let (pairs, at): (Vec<i64>, Vec<i64>) = own.iter().enumerate().filter_map(pair).unzip();
        let mut upload = Upload::default();
        let parts = [pairs, at].map(|values| upload.add(&values));
        let sent = upload.send(self.vocabulary.device());
        parts.map(|part| sent.of(&part))
    }

    /// As [`Queries::shared_by_host`], for another rank's passages, whose ids are on the device alone.
    fn shared_on_device(&self, ids: &Tensor, offsets: &[usize]) -> [Tensor; 2] {
        let width = self.vocabulary.size()[0];
        let (from, to) = (offsets[0] as i64, offsets[offsets.len() - 1] as i64);
        let ids = ids.narrow(0, from, to - from);
        let row = upload(&owners(offsets), ids.device());
        let (shared, column) = if width == 0 {
            (ids.zeros_like().to_kind(Kind::Bool), ids.zeros_like())
        } else {
            let column = ids.searchsorted(&self.vocabulary, false, false, "left", None::<&Tensor>);
            let column = column.clamp_max(width - 1);
            (self.vocabulary.index_select(0, &column).eq_tensor(&ids), column)
        };
        let own = shared.nonzero().squeeze_dim(-1); // pairs of the tile whose token a query has
        let at = row.index_select(0, &own) * width + column.index_select(0, &own);
        [own + from, at]
    }
}

/// A block's tiles.
pub struct Tiles(Vec<Tile>);

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
