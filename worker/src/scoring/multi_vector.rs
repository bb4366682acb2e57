//! Multi-vector scores: `s[q, p] = (1/N_q) Σ_i max_j ⟨E_q[i], E_p[j]⟩`, where N_q is the query's number of vectors.
//!
//! Similarities exist only for one tile of query vectors × passages at a time. The forward pass keeps which passage
//! vector won (int32 [Tq, P]), so the backward pass is exact without computing a similarity again.
//!
//! Winners may be looked for among vectors rounded to bfloat16, which a GPU multiplies many times as fast. The score is
//! then that of the winner by the vectors as they are. A winner is another only where two vectors are nearly equally
//! near, so scores are as exact as ever, but for that much.
//!
//! Legend: Q queries, P passages, Tq query vectors, Tp passage vectors, dm their width; of a tile, t query vectors, p
//! passages, L vectors of the longest passage.

use std::ops::Range;

use tch::{Device, Kind, Tensor};
use tercet_configs::MatmulLibrary;
use tercet_configs::limits::{GATHERED_ELEMENTS, SIMILARITY_TILE_ELEMENTS, TILE_ELEMENTS, TILE_QUERY_VECTORS};

use crate::model::representation::{MultiVector, owners};
use crate::ops::sums::{add_runs, of_bags};
use crate::tensors::libtorch::product_into;
use crate::tensors::upload::Upload;

/// The passage vector that won, for every query vector and passage.
pub struct Winners {
    /// int32 [Tq, P]; −1 where a passage has none.
    vectors: Tensor,
    /// There are passages without vectors.
    some_empty: bool,
}

/// The local queries, and what their scores with any block need.
pub struct Queries<'a> {
    own: &'a MultiVector,
    /// What winners are found by, [Tq, dm]; none if it is the vectors themselves.
    rounded: Option<Tensor>,
    /// The query of each vector, int64 `[Tq]`.
    owner: Tensor,
    /// 1/N of every query, [Q, 1]; a query without vectors scores 0 whatever its value.
    inverse_lengths: Tensor,
    tiles: Vec<QueryTile>,
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

impl<'a> Queries<'a> {
    /// Prepares `own` queries; `rounds` says that winners are found by rounded vectors.
    pub fn new(own: &'a MultiVector, rounds: bool) -> Self {
        let (kind, device) = (own.vectors.kind(), own.vectors.device());
        let owners = owners(&own.offsets);
        let lengths: Vec<f64> = own.offsets.windows(2).map(|w| 1.0 / (w[1] - w[0]).max(1) as f64).collect();
        let mut upload = Upload::default();
        let (owner, inverse_lengths) = (upload.add(&owners), upload.add(&lengths));
        let tiles: Vec<_> = owners
            .chunks(TILE_QUERY_VECTORS)
            .map(|own| {
                let (first, last) = (own[0], own[own.len() - 1]);
                let owner: Vec<i64> = own.iter().map(|owner| owner - first).collect();
                let mut lengths = vec![0i64; (last - first + 1) as usize];
                owner.iter().for_each(|&owner| lengths[owner as usize] += 1);
                (first, lengths.len() as i64, upload.add(&owner), upload.add(&lengths))
            })
            .collect();
        let sent = upload.send(device);
        let tile = |(i, (first, count, owner, lengths)): (usize, &(i64, i64, _, _))| {
            let (owner, lengths) = (sent.of(owner), sent.of(lengths));
            let (from, len) = ((i * TILE_QUERY_VECTORS) as i64, owner.size()[0]);
            QueryTile { from, len, first: *first, count: *count, owner, lengths }
        };
        Self {
            own,
            rounded: rounds.then(|| rounded(&own.vectors)),
            owner: sent.of(&owner),
            inverse_lengths: sent.of(&inverse_lengths).to_kind(kind).unsqueeze(-1),
            tiles: tiles.iter().enumerate().map(tile).collect(),
        }
    }

    /// [Q, P], and the winners for [`Queries::backward`].
    pub fn forward(&self, passages: &MultiVector) -> (Tensor, Winners) {
        let (num_queries, num_passages) = (self.own.offsets.len() as i64 - 1, passages.offsets.len() as i64 - 1);
        let num_vectors = self.own.vectors.size()[0];
        let (kind, device) = (self.own.vectors.kind(), self.own.vectors.device());
        let scores = Tensor::zeros([num_queries, num_passages], (kind, device));
        let winners = Tensor::empty([num_vectors, num_passages], (Kind::Int, device));
        if passages.vectors.size()[0] == 0 {
            // There is no vector for a tile's padding to point at, and none for gradients.
            return (scores, Winners { vectors: Tensor::full_like(&winners, -1), some_empty: true });
        }
        let ends = Ends::of(&passages.offsets, device);
        let some_empty = ends.empty.is_some();
        let searched = match &self.rounded {
            Some(_) => rounded(&passages.vectors),
            None => passages.vectors.shallow_clone(),
        };
        for tile in passage_tiles(&passages.offsets, num_vectors as usize, device) {
            let own = ends.of_tile(&tile);
            let vectors = own.vectors(tile.longest); // [p, L]
            let padded = searched.index_select(0, &vectors.flatten(0, 1)).tr(); // [dm, p·L]
            let padding = self.rounded.is_none().then(|| own.padding(&tile)).flatten();
            for query in &self.tiles {
                let (best, winner) = self.winners(query, passages, (&padded, &vectors), padding.as_ref(), &own);
                let (first, count) = (tile.texts.start as i64, tile.texts.len() as i64);
                winners.narrow(0, query.from, query.len).narrow(1, first, count).copy_(&winner);
                let mut sums = scores.narrow(0, query.first, query.count).narrow(1, first, count);
                add_runs(&mut sums, &best, &query.owner, &query.lengths);
            }
        }
        (scores * &self.inverse_lengths, Winners { vectors: winners, some_empty })
    }

    /// The similarity of each of a tile's query vectors with the nearest vector of each passage, and which that is,
    /// [t, p] both; `padded` are the passages' vectors, [dm, p·L], and their indices, [p, L].
    fn winners(
        &self,
        query: &QueryTile,
        passages: &MultiVector,
        (padded, indices): (&Tensor, &Tensor),
        padding: Option<&Tensor>,
        ends: &Ends,
    ) -> (Tensor, Tensor) {
        let vectors = self.own.vectors.narrow(0, query.from, query.len); // [t, dm]
        let searching = self.rounded.as_ref().map(|rounded| rounded.narrow(0, query.from, query.len));
        let similarity = similarities(searching.as_ref().unwrap_or(&vectors), padded); // [t, p·L]
        let similarity = similarity.view([query.len, ends.first.size()[0], -1]); // [t, p, L]
        let similarity = match padding {
            Some(padding) => similarity.masked_fill(padding, f64::NEG_INFINITY),
            None => similarity,
        };
        let (best, place) = similarity.max_dim(-1, false); // [t, p]
        drop(similarity);
        // Padding repeats the passage's last vector, and may have won in its stead.
        let indices = indices.unsqueeze(0).expand([query.len, -1, -1], false); // [t, p, L]
        let winner = indices.gather(2, &place.unsqueeze(-1), false).squeeze_dim(-1); // [t, p]
        let best = match self.rounded {
            Some(_) => with_winners(&vectors, &passages.vectors, &winner, GATHERED_ELEMENTS),
            None => best,
        };
        // A passage without vectors has no similarity to win, so it scores 0.
        match &ends.empty {
            Some(empty) => (best.masked_fill(empty, 0.0), winner.masked_fill(empty, -1)),
            None => (best, winner),
        }
    }

    /// Adds the gradients from `d_scores` [Q, P] to `d_queries` [Tq, dm] and `d_passages` [Tp, dm].
    pub fn backward(
        &self,
        (passages, winners): (&MultiVector, &Winners),
        d_scores: &Tensor,
        (d_queries, d_passages): (&mut Tensor, &mut Tensor),
    ) {
        let queries = self.own;
        let num_vectors = queries.vectors.size()[0];
        let num_passages = d_scores.size()[1];
        let num_passage_vectors = passages.vectors.size()[0];
        if num_vectors == 0 || num_passages == 0 || num_passage_vectors == 0 {
            return;
        }
        let device = d_scores.device();
        let d_scores = d_scores * &self.inverse_lengths; // [Q, P]

        let rows = (TILE_ELEMENTS as i64 / num_passages).clamp(1, num_vectors);
        for from in (0..num_vectors).step_by(rows as usize) {
            let len = rows.min(num_vectors - from);
            let winner = winners.vectors.narrow(0, from, len).to_kind(Kind::Int64); // [t, P]
            let gradient = d_scores.index_select(0, &self.owner.narrow(0, from, len)); // [t, P]
            let (winner, gradient) = match winners.some_empty {
                true => (winner.clamp_min(0), gradient.masked_fill(&winner.lt(0), 0.0)),
                false => (winner, gradient),
            };
            let (winner, gradient) = (winner.flatten(0, 1), gradient.flatten(0, 1)); // [t·P]

            // A query vector's gradient is a weighted sum of the winning vectors of all passages.
            let starts = Tensor::arange_start_step(0, len * num_passages, num_passages, (Kind::Int64, device));
            let sums = of_bags(&passages.vectors, &winner, &starts, Some(&gradient));
            let _ = d_queries.narrow(0, from, len).g_add_(&sums);

            // A passage vector's gradient is a weighted sum of the query vectors that it won: the same sums, over the
            // pairs sorted by winner. The sort is stable on a GPU, so that a sum has one order there.
            let (sorted, order) = winner.sort_stable(device != Device::Cpu, 0, false);
            let starts = starts_of(&sorted, num_passage_vectors);
            let query = order.divide_scalar_mode(num_passages, "floor") + from;
            let sums = of_bags(&queries.vectors, &query, &starts, Some(&gradient.index_select(0, &order)));
            let _ = d_passages.g_add_(&sums);
        }
    }
}

/// `vectors` as bfloat16 has them. A CPU has no product of bfloat16 whose sums are not rounded, and multiplies the
/// rounded numbers in the vectors' own type.
fn rounded(vectors: &Tensor) -> Tensor {
    let rounded = vectors.to_kind(Kind::BFloat16);
    if vectors.device().is_cuda() { rounded } else { rounded.to_kind(vectors.kind()) }
}

/// [t, n] from [t, dm] and [dm, n]; sums are never bfloat16.
fn similarities(vectors: &Tensor, padded: &Tensor) -> Tensor {
    if vectors.kind() != Kind::BFloat16 {
        return vectors.matmul(padded);
    }
    let mut sums = Tensor::empty([vectors.size()[0], padded.size()[1]], (Kind::Float, vectors.device()));
    product_into(MatmulLibrary::default(), &mut sums, vectors, padded);
    sums
}

/// The inner products of query vectors, [t, dm], with the `passages`' vectors that `winner`, [t, p], names. At most
/// `gathered` elements of these are gathered at a time, unless one query vector's are more.
fn with_winners(queries: &Tensor, passages: &Tensor, winner: &Tensor, gathered: usize) -> Tensor {
    let (num, num_passages, width) = (winner.size()[0], winner.size()[1], passages.size()[1]);
    let rows = (gathered as i64 / (num_passages * width).max(1)).clamp(1, num);
    let parts = (0..num).step_by(rows as usize).map(|from| {
        let len = rows.min(num - from);
        let own = passages.index_select(0, &winner.narrow(0, from, len).flatten(0, 1));
        let own = own.view([len, num_passages, width]);
        own.bmm(&queries.narrow(0, from, len).unsqueeze(-1)).squeeze_dim(-1) // [len, p]
    });
    let parts: Vec<_> = parts.collect();
    match &parts[..] {
        [one] => one.shallow_clone(),
        several => Tensor::cat(several, 0),
    }
}

/// The index at which each of 0..num begins in the ascending `sorted`, int64 `[num]`.
fn starts_of(sorted: &Tensor, num: i64) -> Tensor {
    let wanted = Tensor::arange(num, (Kind::Int64, sorted.device()));
    wanted.searchsorted(sorted, false, false, "left", None::<&Tensor>)
}

/// Where passages begin and end, on the device.
struct Ends {
    /// The index of each passage's first vector, int64 [p, 1].
    first: Tensor,
    /// The index of its last vector; of a passage without vectors one less than `first`.
    last: Tensor,
    /// True for a passage without vectors, bool `[p]`; none if there is no such passage.
    empty: Option<Tensor>,
}

impl Ends {
    fn of(offsets: &[usize], device: Device) -> Self {
        let mut upload = Upload::default();
        let first: Vec<i64> = offsets[..offsets.len() - 1].iter().map(|&offset| offset as i64).collect();
        let last: Vec<i64> = offsets[1..].iter().map(|&offset| offset as i64 - 1).collect();
        let empty: Vec<bool> = offsets.windows(2).map(|w| w[0] == w[1]).collect();
        let (first, last) = (upload.add(&first), upload.add(&last));
        let empty = empty.contains(&true).then(|| upload.add(&empty));
        let sent = upload.send(device);
        let [first, last] = [first, last].map(|part| sent.of(&part).unsqueeze(-1));
        Self { first, last, empty: empty.map(|part| sent.of(&part)) }
    }

    fn of_tile(&self, tile: &PassageTile) -> Self {
        let own = |all: &Tensor| all.narrow(0, tile.texts.start as i64, tile.texts.len() as i64);
        Self { first: own(&self.first), last: own(&self.last), empty: self.empty.as_ref().map(own) }
    }

    /// The indices of the vectors, int64 [p, L], of passages padded to the longest, of `longest` vectors. Padding
    /// points at the passage's last vector; in a passage without vectors at any.
    fn vectors(&self, longest: i64) -> Tensor {
        let places = Tensor::arange(longest, (Kind::Int64, self.first.device()));
        let vectors = (&self.first + places).minimum(&self.last); // [p, L]
        if self.empty.is_some() { vectors.clamp_min(0) } else { vectors }
    }

    /// True at padding, bool [p, L]; none if all passages have one length.
    fn padding(&self, tile: &PassageTile) -> Option<Tensor> {
        tile.is_ragged.then(|| {
            let places = Tensor::arange(tile.longest, (Kind::Int64, self.first.device()));
            (&self.first + places).gt_tensor(&self.last)
        })
    }
}

/// Neighbouring passages whose padded similarities stay within the limit.
struct PassageTile {
    texts: Range<usize>,
    /// Vectors of the longest, at least one.
    longest: i64,
    /// They differ in length.
    is_ragged: bool,
}

fn passage_tiles(offsets: &[usize], num_query_vectors: usize, device: Device) -> Vec<PassageTile> {
    let elements = SIMILARITY_TILE_ELEMENTS[usize::from(device.is_cuda())];
    let per_row = elements / num_query_vectors.clamp(1, TILE_QUERY_VECTORS);
    let lengths: Vec<usize> = offsets.windows(2).map(|w| w[1] - w[0]).collect();
    let mut tiles = Vec::new();
    let mut first = 0;
    while first < lengths.len() {
        let mut end = first + 1;
        let mut longest = lengths[first].max(1);
        while end < lengths.len() && longest.max(lengths[end]) * (end + 1 - first) <= per_row {
            longest = longest.max(lengths[end]);
            end += 1;
        }
        let is_ragged = lengths[first..end].iter().any(|&len| len != longest);
        tiles.push(PassageTile { texts: first..end, longest: longest as i64, is_ragged });
        first = end;
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winners_are_scored_alike_however_few_are_gathered_at_a_time() {
        let vectors = |num: i64| Tensor::arange(num * 3, (Kind::Double, Device::Cpu)).sin().view([num, 3]);
        let (queries, passages) = (vectors(5), vectors(7));
        let winner = Tensor::from_slice(&[0i64, 6, 3, 2, 6, 1, 5, 5, 0, 4]).view([5, 2]);
        let all = queries.matmul(&passages.tr()).gather(1, &winner, false);
        for gathered in [1, 13, 1000] {
            let found = with_winners(&queries, &passages, &winner, gathered);
            assert!((found - &all).abs().max().double_value(&[]) < 1e-15, "{gathered}");
        }
    }
}
