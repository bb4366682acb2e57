//! Multi-vector scores: `s[q, p] = (1/N_q) Σ_i max_j ⟨E_q[i], E_p[j]⟩`, where N_q is the query's number of vectors.
//!
//! Similarities exist only for one tile of query vectors × passages at a time. The forward pass keeps which passage
//! vector won (int32 [Tq, P]), so the backward pass is exact without computing a similarity again.
//!
//! Legend: Q queries, P passages, Tq query vectors, Tp passage vectors, dm their width; of a tile, t query vectors, p
//! passages, L vectors of the longest passage.

use std::ops::Range;

use tch::{Device, Kind, Tensor};
use tercet_configs::limits::{TILE_ELEMENTS, TILE_QUERY_VECTORS};

use crate::model::representation::{MultiVector, owners};
use crate::ops::sums::{add_runs, of_bags};
use crate::tensors::upload::{Part, Upload, Uploaded};

/// The passage vector that won, for every query vector and passage: int32 [Tq, P]; −1 where a passage has none.
pub struct Winners(Tensor);

/// [Q, P], and the winners for [`backward`].
pub fn forward(queries: &MultiVector, passages: &MultiVector) -> (Tensor, Winners) {
    let (num_queries, num_passages) = (queries.offsets.len() as i64 - 1, passages.offsets.len() as i64 - 1);
    let num_vectors = queries.vectors.size()[0];
    let (kind, device) = (queries.vectors.kind(), queries.vectors.device());
    let scores = Tensor::zeros([num_queries, num_passages], (kind, device));
    let winners = Tensor::full([num_vectors, num_passages], -1, (Kind::Int, device));
    if passages.vectors.size()[0] == 0 {
        return (scores, Winners(winners)); // there is no vector for a tile's padding to point at
    }
    let mut upload = Upload::default();
    let inverse_lengths = upload.add(&inverse_lengths(queries));
    let query_tiles = query_tiles(queries, &mut upload);
    let tiles = passage_tiles(passages, num_vectors as usize, &mut upload);
    let sent = upload.send(device);
    let inverse_lengths = sent.of(&inverse_lengths).to_kind(kind); // [Q]
    let query_tiles: Vec<_> = query_tiles.iter().map(|tile| tile.on(&sent)).collect();

    for tile in tiles.iter().map(|tile| tile.on(&sent)) {
        let padded = passages.vectors.index_select(0, &tile.vectors.flatten(0, 1)).tr(); // [dm, p·L]
        for &QueryTile { from, len, first, count, ref owner, ref lengths } in &query_tiles {
            let similarity = queries.vectors.narrow(0, from, len).matmul(&padded); // [t, p·L]
            let similarity = similarity.view([len, tile.count, -1]); // [t, p, L]
            let similarity = match &tile.padding {
                Some(padding) => similarity.masked_fill(padding, f64::NEG_INFINITY),
                None => similarity,
            };
            let (best, place) = similarity.max_dim(-1, false); // [t, p]
            // A passage without vectors has no similarity to win, so it scores 0.
            let best = best.masked_fill(&tile.empty, 0.0);
            let winner = (place + &tile.first_vector).masked_fill(&tile.empty, -1);
            winners.narrow(0, from, len).narrow(1, tile.first, tile.count).copy_(&winner);
            let mut sums = scores.narrow(0, first, count).narrow(1, tile.first, tile.count);
            add_runs(&mut sums, &best, owner, lengths);
        }
    }
    (scores * inverse_lengths.unsqueeze(-1), Winners(winners))
}

/// Adds the gradients from `d_scores` [Q, P] to `d_queries` [Tq, dm] and `d_passages` [Tp, dm].
pub fn backward(
    (queries, passages): (&MultiVector, &MultiVector),
    winners: &Winners,
    d_scores: &Tensor,
    (d_queries, d_passages): (&mut Tensor, &mut Tensor),
) {
    let num_vectors = queries.vectors.size()[0];
    let num_passages = d_scores.size()[1];
    let num_passage_vectors = passages.vectors.size()[0];
    if num_vectors == 0 || num_passages == 0 || num_passage_vectors == 0 {
        return;
    }
    let device = d_scores.device();
    let mut upload = Upload::default();
    let (owner, inverse_lengths) = (upload.add(&owners(&queries.offsets)), upload.add(&inverse_lengths(queries)));
    let sent = upload.send(device);
    let (owner, inverse_lengths) = (sent.of(&owner), sent.of(&inverse_lengths).to_kind(queries.vectors.kind()));
    let d_scores = d_scores * inverse_lengths.unsqueeze(-1); // [Q, P]

    let rows = (TILE_ELEMENTS as i64 / num_passages).clamp(1, num_vectors);
    for from in (0..num_vectors).step_by(rows as usize) {
        let len = rows.min(num_vectors - from);
        let winner = winners.0.narrow(0, from, len).to_kind(Kind::Int64); // [t, P]
        let gradient = d_scores.index_select(0, &owner.narrow(0, from, len)); // [t, P]
        let gradient = gradient.masked_fill(&winner.lt(0), 0.0).flatten(0, 1); // [t·P]
        let winner = winner.clamp_min(0).flatten(0, 1); // [t·P]

        // A query vector's gradient is a weighted sum of the winning vectors of all passages.
        let starts = Tensor::arange_start_step(0, len * num_passages, num_passages, (Kind::Int64, device));
        let sums = of_bags(&passages.vectors, &winner, &starts, Some(&gradient));
        let _ = d_queries.narrow(0, from, len).g_add_(&sums);

        // A passage vector's gradient is a weighted sum of the query vectors that it won: the same sums, over the pairs
        // sorted by winner. The sort is stable on a GPU, so that a sum has one order there.
        let (sorted, order) = winner.sort_stable(device != Device::Cpu, 0, false);
        let starts = starts_of(&sorted, num_passage_vectors);
        let query = order.divide_scalar_mode(num_passages, "floor") + from;
        let sums = of_bags(&queries.vectors, &query, &starts, Some(&gradient.index_select(0, &order)));
        let _ = d_passages.g_add_(&sums);
    }
}

/// The index at which each of 0..num begins in the ascending `sorted`, int64 `[num]`.
fn starts_of(sorted: &Tensor, num: i64) -> Tensor {
    let wanted = Tensor::arange(num, (Kind::Int64, sorted.device()));
    wanted.searchsorted(sorted, false, false, "left", None::<&Tensor>)
}

/// 1/N of every query, `[Q]`; a query without vectors scores 0 whatever its value.
fn inverse_lengths(queries: &MultiVector) -> Vec<f64> {
    queries.offsets.windows(2).map(|w| 1.0 / (w[1] - w[0]).max(1) as f64).collect()
}

/// Passages `first..first + count` of a block, padded to the longest.
struct PassageTile<T> {
    first: i64,
    count: i64,
    /// The indices of their vectors, int64 [p, L]; padding points at an arbitrary vector.
    vectors: T,
    /// True at padding, bool [p, L]; none if all passages have one length.
    padding: Option<T>,
    /// The index of each passage's first vector, int64 `[p]`.
    first_vector: T,
    /// True for a passage without vectors, bool `[p]`.
    empty: T,
}

impl PassageTile<Part> {
    /// The tile with its tensors on the device.
    fn on(&self, sent: &Uploaded) -> PassageTile<Tensor> {
        PassageTile {
            first: self.first,
            count: self.count,
            vectors: sent.of(&self.vectors).view([self.count, -1]),
            padding: self.padding.map(|padding| sent.of(&padding).view([self.count, -1])),
            first_vector: sent.of(&self.first_vector),
            empty: sent.of(&self.empty),
        }
    }
}

/// Tiles of neighbouring passages whose padded similarities stay within the limit.
fn passage_tiles(passages: &MultiVector, num_query_vectors: usize, upload: &mut Upload) -> Vec<PassageTile<Part>> {
    let per_row = TILE_ELEMENTS / num_query_vectors.clamp(1, TILE_QUERY_VECTORS);
    let lengths: Vec<usize> = passages.offsets.windows(2).map(|w| w[1] - w[0]).collect();
    let mut tiles = Vec::new();
    let mut first = 0;
    while first < lengths.len() {
        let mut end = first + 1;
        let mut longest = lengths[first].max(1);
        while end < lengths.len() && longest.max(lengths[end]) * (end + 1 - first) <= per_row {
            longest = longest.max(lengths[end]);
            end += 1;
        }
        tiles.push(passage_tile(passages, first..end, longest, upload));
        first = end;
    }
    tiles
}

fn passage_tile(passages: &MultiVector, texts: Range<usize>, longest: usize, upload: &mut Upload) -> PassageTile<Part> {
    let (first, end, count) = (texts.start, texts.end, texts.len());
    let mut vectors = vec![0i64; count * longest];
    let mut padding = vec![false; count * longest];
    for (p, bounds) in passages.offsets[first..=end].windows(2).enumerate() {
        for l in 0..longest {
            let inside = bounds[0] + l < bounds[1];
            padding[p * longest + l] = !inside;
            vectors[p * longest + l] = if inside { (bounds[0] + l) as i64 } else { 0 };
        }
    }
    let padded = padding.iter().any(|&p| p);
    let starts: Vec<i64> = passages.offsets[first..end].iter().map(|&o| o as i64).collect();
    let empty: Vec<bool> = passages.offsets[first..=end].windows(2).map(|w| w[0] == w[1]).collect();
    PassageTile {
        first: first as i64,
        count: count as i64,
        vectors: upload.add(&vectors),
        padding: padded.then(|| upload.add(&padding)),
        first_vector: upload.add(&starts),
        empty: upload.add(&empty),
    }
}

/// Query vectors `from..from + len`, and the queries that they are of: `first..first + count`.
struct QueryTile<T> {
    from: i64,
    len: i64,
    first: i64,
    count: i64,
    /// The query of each vector, counted from `first`, int64 `[len]`.
    owner: T,
    /// The number of vectors of each query that are in the tile, int64 `[count]`.
    lengths: T,
}

impl QueryTile<Part> {
    /// The tile with its tensors on the device.
    fn on(&self, sent: &Uploaded) -> QueryTile<Tensor> {
        let &Self { from, len, first, count, ref owner, ref lengths } = self;
        QueryTile { from, len, first, count, owner: sent.of(owner), lengths: sent.of(lengths) }
    }
}

fn query_tiles(queries: &MultiVector, upload: &mut Upload) -> Vec<QueryTile<Part>> {
    let owners = owners(&queries.offsets);
    let tile = |(i, own): (usize, &[i64])| {
        let (first, last) = (own[0], own[own.len() - 1]);
        let owner: Vec<i64> = own.iter().map(|owner| owner - first).collect();
        let mut lengths = vec![0i64; (last - first + 1) as usize];
        owner.iter().for_each(|&owner| lengths[owner as usize] += 1);
        QueryTile {
            from: (i * TILE_QUERY_VECTORS) as i64,
            len: own.len() as i64,
            first,
            count: lengths.len() as i64,
            owner: upload.add(&owner),
            lengths: upload.add(&lengths),
        }
    };
    owners.chunks(TILE_QUERY_VECTORS).enumerate().map(tile).collect()
}
