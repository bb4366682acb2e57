//! Multi-vector scores: `s[q, p] = (1/N_q) Σ_i max_j ⟨E_q[i], E_p[j]⟩`, where N_q is the query's number of vectors.
//!
//! Similarities exist only for one tile of query vectors × passages at a time. The forward pass keeps which passage
//! vector won (int32 [Tq, P]), so the backward pass is exact without computing a similarity again.
//!
//! Legend: Q queries, P passages, Tq query vectors, Tp passage vectors, dm their width, L the tile's longest passage.

use tch::{Device, Kind, Tensor};
use tercet_configs::limits::{TILE_ELEMENTS, TILE_QUERY_VECTORS};

use crate::model::representation::{MultiVector, owners};
use crate::ops::sums::{add_runs, of_bags};

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
        return (scores, Winners(winners)); // nothing that a tile's padding could point at
    }
    let query_tiles = query_tiles(queries);

    for tile in passage_tiles(passages, num_vectors as usize) {
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
    (scores * inverse_lengths(queries).unsqueeze(-1), Winners(winners))
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
    let owner = Tensor::from_slice(&owners(&queries.offsets)).to_device(device); // [Tq]
    let d_scores = d_scores * inverse_lengths(queries).unsqueeze(-1); // [Q, P]

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
        // sorted by winner.
        // By a stable sort on a GPU, so that a sum has one order there.
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
fn inverse_lengths(queries: &MultiVector) -> Tensor {
    let lengths: Vec<f64> = queries.offsets.windows(2).map(|w| 1.0 / (w[1] - w[0]).max(1) as f64).collect();
    Tensor::from_slice(&lengths).to_kind(queries.vectors.kind()).to_device(queries.vectors.device())
}

/// Passages `first..first + count` of a block, padded to the longest.
struct PassageTile {
    first: i64,
    count: i64,
    /// The indices of their vectors, int64 [p, L]; padding points at an arbitrary vector.
    vectors: Tensor,
    /// True at padding, bool [p, L]; none if all passages have one length.
    padding: Option<Tensor>,
    /// The index of each passage's first vector, int64 `[p]`.
    first_vector: Tensor,
    /// True for a passage without vectors, bool `[p]`.
    empty: Tensor,
}

/// Tiles of neighbouring passages whose padded similarities stay within the limit.
fn passage_tiles(passages: &MultiVector, num_query_vectors: usize) -> Vec<PassageTile> {
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
        tiles.push(passage_tile(passages, first, end, longest));
        first = end;
    }
    tiles
}

fn passage_tile(passages: &MultiVector, first: usize, end: usize, longest: usize) -> PassageTile {
    let count = end - first;
    let device = passages.vectors.device();
    let mut vectors = vec![0i64; count * longest];
    let mut padding = vec![false; count * longest];
    for (p, bounds) in passages.offsets[first..=end].windows(2).enumerate() {
        for l in 0..longest {
            let inside = bounds[0] + l < bounds[1];
            padding[p * longest + l] = !inside;
            vectors[p * longest + l] = if inside { (bounds[0] + l) as i64 } else { 0 };
        }
    }
    let shape = [count as i64, longest as i64];
    let padded = padding.iter().any(|&p| p);
    let starts: Vec<i64> = passages.offsets[first..end].iter().map(|&o| o as i64).collect();
    let empty: Vec<bool> = passages.offsets[first..=end].windows(2).map(|w| w[0] == w[1]).collect();
    PassageTile {
        first: first as i64,
        count: count as i64,
        vectors: Tensor::from_slice(&vectors).to_device(device).view(shape),
        padding: padded.then(|| Tensor::from_slice(&padding).to_kind(Kind::Bool).to_device(device).view(shape)),
        first_vector: Tensor::from_slice(&starts).to_device(device),
        empty: Tensor::from_slice(&empty).to_kind(Kind::Bool).to_device(device),
    }
}

/// Query vectors `from..from + len`, and the queries that they are of: `first..first + count`.
struct QueryTile {
    from: i64,
    len: i64,
    first: i64,
    count: i64,
    /// The query of each vector, counted from `first`, int64 `[len]`.
    owner: Tensor,
    /// The number of vectors of each query that are in the tile, int64 `[count]`.
    lengths: Tensor,
}

fn query_tiles(queries: &MultiVector) -> Vec<QueryTile> {
    let (owners, device) = (owners(&queries.offsets), queries.vectors.device());
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
            owner: Tensor::from_slice(&owner).to_device(device),
            lengths: Tensor::from_slice(&lengths).to_device(device),
        }
    };
    owners.chunks(TILE_QUERY_VECTORS).enumerate().map(tile).collect()
}
