//! Lexical scores: s[q, p] = Σ over tokens in both texts of w_q · w_p.
//!
//! Only tokens of the local queries can contribute, so weights are laid out over that small vocabulary (U distinct
//! tokens) and never over the model's. Passages are processed in tiles, so the [tile, U] buffer is bounded too. Where a
//! tile's pairs stand in it is found once, and kept from scores to gradients. On a GPU other ranks' are found there.
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
        let tiles = self.tiles(passages);
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
            tile.add_gradients(&d_tile.tr().matmul(&self.weights).flatten(0, 1), d_passages);
        }
        let _ = d_queries.g_add_(&d_weights.flatten(0, 1).index_select(0, &self.at));
    }

    /// None where no query has a token.
    fn tiles(&self, passages: &Lexical) -> Vec<Tile> {
        let (width, num_passages) = (self.host_vocabulary.len(), passages.offsets.len() - 1);
        if width == 0 || num_passages == 0 {
            return Vec::new();
        }
        let device = self.vocabulary.device();
        let on_device = (device.is_cuda() && passages.host_ids.is_none()).then(|| {
            let offsets: Vec<i64> = passages.offsets.iter().map(|&offset| offset as i64).collect();
            upload(&offsets, device)
        });
        let tile = (TILE_ELEMENTS / width).max(1);
        let of = |first: usize| {
            let end = (first + tile).min(num_passages);
            let offsets = &passages.offsets[first..=end];
            let places = match (&passages.host_ids, &on_device) {
                (Some(ids), _) => self.shared_by_host(ids, offsets),
                (None, Some(starts)) => {
                    let starts = starts.narrow(0, first as i64, (end - first) as i64 + 1);
                    self.all_on_device(&passages.token_ids, &starts, offsets)
                }
                (None, None) => self.shared_by_libtorch(&passages.token_ids, offsets),
            };
            Tile { first: first as i64, count: (end - first) as i64, width: width as i64, places }
        };
        (0..num_passages).step_by(tile).map(of).collect()
    }

    /// The shared pairs of passages that begin at `offsets`, by ids on the host: nobody waits for the device to learn
    /// their number.
    fn shared_by_host(&self, ids: &[i64], offsets: &[usize]) -> Places {
        let (from, width) = (offsets[0], self.host_vocabulary.len() as i64);
        let rows = owners(offsets);
        let pair = |(place, id): (usize, &i64)| {
            let column = self.host_vocabulary.binary_search(id).ok()? as i64;
            Some(((from + place) as i64, rows[place] * width + column))
        };
        let own = &ids[from..offsets[offsets.len() - 1]];
        let (pairs, at): (Vec<i64>, Vec<i64>) = own.iter().enumerate().filter_map(pair).unzip();
        let mut upload = Upload::default();
        let [pairs, at] = [pairs, at].map(|values| upload.add(&values));
        let sent = upload.send(self.vocabulary.device());
        Places::Shared { pairs: sent.of(&pairs), at: sent.of(&at) }
    }

    /// As [`Queries::shared_by_host`], for another rank's passages, whose ids are in a message alone; on a CPU.
    fn shared_by_libtorch(&self, ids: &Tensor, offsets: &[usize]) -> Places {
        let (from, to) = (offsets[0] as i64, offsets[offsets.len() - 1] as i64);
        let row = Tensor::from_slice(&owners(offsets));
        let (shared, column) = self.columns(&ids.narrow(0, from, to - from));
        let own = shared.nonzero().squeeze_dim(-1); // pairs of the tile whose token a query has
        let at = row.index_select(0, &own) * self.vocabulary.size()[0] + column.index_select(0, &own);
        Places::Shared { pairs: own + from, at }
    }

    /// The places of all pairs of another rank's passages that begin at `offsets`, and at `starts`, the same on the
    /// device. How many are shared is not asked, so the host does not wait for the device.
    fn all_on_device(&self, ids: &Tensor, starts: &Tensor, offsets: &[usize]) -> Places {
        let (from, to) = (offsets[0] as i64, offsets[offsets.len() - 1] as i64);
        let (width, count) = (self.vocabulary.size()[0], offsets.len() as i64 - 1);
        let (shared, column) = self.columns(&ids.narrow(0, from, to - from));
        // As many texts have begun by a pair as its own number says, itself included.
        let pair = Tensor::arange_start(from, to, (Kind::Int64, ids.device()));
        let row = pair.searchsorted(starts, false, true, "right", None::<&Tensor>) - 1;
        let at = (row * width + column).masked_fill(&shared.logical_not(), count * width);
        Places::All { from, at }
    }

    /// Says of each of `ids` whether a query has it, and its column.
    fn columns(&self, ids: &Tensor) -> (Tensor, Tensor) {
        let column = ids.searchsorted(&self.vocabulary, false, false, "left", None::<&Tensor>);
        let column = column.clamp_max(self.vocabulary.size()[0] - 1);
        (self.vocabulary.index_select(0, &column).eq_tensor(ids), column)
    }
}

/// A block's tiles.
pub struct Tiles(Vec<Tile>);

/// Passages `first..first + count` of a block, with the pairs whose tokens the queries share.
struct Tile {
    first: i64,
    count: i64,
    width: i64,
    places: Places,
}

/// Where weights of a block stand in a tile, [count, U].
enum Places {
    /// Only the pairs whose tokens the queries share: their indices in the block's weights, int64 `[K]`, and the flat
    /// index of each.
    Shared { pairs: Tensor, at: Tensor },
    /// All pairs of the tile, which begin at `from` in the block's weights: the flat index of each, int64; one
    /// behind the last for those that are not shared.
    All { from: i64, at: Tensor },
}

impl Tile {
    /// [count, U].
    fn weights(&self, passages: &Lexical) -> Tensor {
        let (own, at) = match &self.places {
            Places::Shared { pairs, at } => (passages.weights.index_select(0, pairs), at),
            Places::All { from, at } => (passages.weights.narrow(0, *from, at.size()[0]), at),
        };
        let num = self.count * self.width;
        // One more, for all that has no place.
        let zeros = Tensor::zeros([num + 1], (own.kind(), own.device()));
        zeros.index_copy(0, at, &own).narrow(0, 0, num).view([self.count, self.width])
    }

    /// Adds to the gradients of the block's weights those of the tile's, `d_weights`, [count · U].
    fn add_gradients(&self, d_weights: &Tensor, d_passages: &mut Tensor) {
        match &self.places {
            Places::Shared { pairs, at } => {
                let _ = d_passages.index_add_(0, pairs, &d_weights.index_select(0, at));
            }
            Places::All { from, at } => {
                let num = self.count * self.width;
                let own = d_weights.index_select(0, &at.clamp_max(num - 1)).masked_fill(&at.ge(num), 0.0);
                let _ = d_passages.narrow(0, *from, at.size()[0]).g_add_(&own);
            }
        }
    }
}
