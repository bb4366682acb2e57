//! False negatives: passages of the global batch that are known to answer a query, and so must not count against it.
//!
//! A query's known answers are the positives of every row of the global batch with the same query, its own row among
//! them. Positives that were not chosen count as well. docs/know/loss.md says what leaving them out does to each loss.
//!
//! Texts are compared by their hashes, which the ranks gather. That takes 8 bytes for each text of the global batch and
//! 16 for each pair found. The pairs do not depend on how rows are dealt to ranks.
//!
//! Legend: Q local queries, R all ranks' queries, P all ranks' passages.

use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError, gather_ragged};
use tercet_configs::Negatives;
use tercet_sampler::TextIds;

use crate::tensors::upload::Upload;

/// The value of a masked score. It is far below any real score, so its softmax is exactly 0. It is finite, because 0 ·
/// ∞ is NaN, and small enough for the hybrid score's sum in float32.
const MASKED: f64 = -1e30;

/// Entries (row, column) of this rank's score matrices that do not count as negatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FalseNegatives(Vec<(usize, usize)>);

impl FalseNegatives {
    /// The number of entries.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `scores` with these entries far below all others, so that they get no probability and no gradient.
    pub fn mask(&self, mut scores: Tensor) -> Tensor {
        if self.0.is_empty() {
            return scores;
        }
        let (kind, device) = (scores.kind(), scores.device());
        let mut upload = Upload::default();
        let mut index = |part: fn(&(usize, usize)) -> usize| {
            upload.add(&self.0.iter().map(|pair| part(pair) as i64).collect::<Vec<_>>())
        };
        let places = [index(|pair| pair.0), index(|pair| pair.1)];
        let sent = upload.send(device);
        let masked = Tensor::full([1], MASKED, (kind, device));
        scores.index_put_(&places.map(|part| Some(sent.of(&part))), &masked, false)
    }

    /// Leaves the entries out of the teacher's softmax over each query's own group. `scores` [Q·G] are the teacher's;
    /// `first` is the column of this rank's first passage.
    pub fn leave_out_of_groups(&self, scores: &mut [f32], first: usize, group_size: usize) {
        for &(query, column) in &self.0 {
            if let Some(own) = column.checked_sub(first).filter(|own| own / group_size == query) {
                scores[own] = f32::NEG_INFINITY;
            }
        }
    }
}

/// Which texts are known to answer which queries, from all rows of the global batch. The default knows of none.
#[derive(Debug, Default)]
pub struct KnownAnswers {
    /// This rank's queries. `[Q]`
    own_queries: Vec<u64>,
    /// Each query's positive in the batch. `[Q]`
    own_positives: Vec<u64>,
    first_query: usize,
    first_passage: usize,
    group_size: usize,
    negatives: Negatives,
    /// All ranks' pairs (query, text) in which the text answers the query.
    answers: Vec<(u64, u64)>,
    /// Each query's index among all ranks' queries. `[R]`
    queries: Relation<usize>,
    /// Each passage's column. `[P]`
    passages: Relation<usize>,
}

impl KnownAnswers {
    /// Gathers the ranks' known answers. Every rank calls it with its own texts' identities; `negatives` says which
    /// passages a query is contrasted with.
    ///
    /// # Errors
    /// A collective that failed.
    pub fn gather(
        ranks: &dyn Collective,
        own: &TextIds,
        group_size: usize,
        negatives: Negatives,
    ) -> Result<Self, CollectiveError> {
        let all = gather(ranks, own, group_size)?;
        let before = &all[..ranks.rank()];
        let answers = |ids: &TextIds| {
            let asked = ids.queries.iter().zip(&ids.positives);
            asked.flat_map(|(&query, texts)| texts.iter().map(move |&text| (query, text))).collect::<Vec<_>>()
        };
        Ok(Self {
            own_queries: own.queries.clone(),
            own_positives: own.passages.iter().step_by(group_size).copied().collect(),
            first_query: before.iter().map(|ids| ids.queries.len()).sum(),
            first_passage: before.iter().map(|ids| ids.passages.len()).sum(),
            group_size,
            negatives,
            answers: all.iter().flat_map(answers).collect(),
            queries: all.iter().flat_map(|ids| ids.queries.iter().copied()).zip(0..).collect(),
            passages: all.iter().flat_map(|ids| ids.passages.iter().copied()).zip(0..).collect(),
        })
    }

    /// For this rank's queries (rows of [Q, P]), the known answers among all passages, except the query's own positive.
    pub fn among_passages(&self) -> FalseNegatives {
        let answers: Relation<u64> = self.answers.iter().copied().collect();
        let positive = |row: usize| self.first_passage + row * self.group_size;
        let mut pairs = join(&self.own_queries, &answers, &self.passages);
        pairs.retain(|&(row, column)| column != positive(row));
        if self.negatives == Negatives::Own {
            pairs.retain(|&(row, column)| (positive(row)..positive(row) + self.group_size).contains(&column));
        }
        FalseNegatives(pairs)
    }

    /// For this rank's positives (rows of [Q, R]), the queries that each is known to answer, except its own.
    pub fn among_queries(&self) -> FalseNegatives {
        let answered: Relation<u64> = self.answers.iter().map(|&(query, text)| (text, query)).collect();
        let mut pairs = join(&self.own_positives, &answered, &self.queries);
        pairs.retain(|&(row, column)| column != self.first_query + row);
        FalseNegatives(pairs)
    }
}

/// The pairs (row, column) for which `via` relates the row's identity to another identity, and `to` that one to the
/// column.
fn join(rows: &[u64], via: &Relation<u64>, to: &Relation<usize>) -> Vec<(usize, usize)> {
    let columns = |id: u64| via.of(id).flat_map(|via| to.of(via));
    rows.iter().enumerate().flat_map(|(row, &id)| columns(id).map(move |column| (row, column))).collect()
}

/// A relation from identities to values: ascending pairs without repetitions.
#[derive(Debug, Default)]
struct Relation<T>(Vec<(u64, T)>);

impl<T: Copy> Relation<T> {
    fn of(&self, id: u64) -> impl Iterator<Item = T> {
        let from = self.0.partition_point(|entry| entry.0 < id);
        self.0[from..].iter().take_while(move |entry| entry.0 == id).map(|entry| entry.1)
    }
}

impl<T: Ord> FromIterator<(u64, T)> for Relation<T> {
    fn from_iter<I: IntoIterator<Item = (u64, T)>>(entries: I) -> Self {
        let mut entries: Vec<(u64, T)> = entries.into_iter().collect();
        entries.sort_unstable();
        entries.dedup();
        Self(entries)
    }
}

/// Every rank's identities. Every rank calls it.
fn gather(ranks: &dyn Collective, own: &TextIds, group_size: usize) -> Result<Vec<TextIds>, CollectiveError> {
    let all = gather_ragged(ranks, &packed(own))?;
    Ok(all.into_iter().map(|ids| unpacked(ids.into_iter().map(i64::cast_unsigned), group_size)).collect())
}

/// The number of queries, each query's number of positives; then the identities of queries, passages and positives.
fn packed(ids: &TextIds) -> Vec<i64> {
    let counts = std::iter::once(ids.queries.len()).chain(ids.positives.iter().map(Vec::len));
    let ids = ids.queries.iter().chain(&ids.passages).chain(ids.positives.iter().flatten());
    counts.map(|count| count as i64).chain(ids.map(|id| id.cast_signed())).collect()
}

/// The inverse of [`packed`], where each query has `group_size` passages.
fn unpacked(mut numbers: impl Iterator<Item = u64>, group_size: usize) -> TextIds {
    let mut take = |count: usize| numbers.by_ref().take(count).collect::<Vec<u64>>();
    let num_queries = take(1).first().map_or(0, |&count| count as usize);
    let num_positives = take(num_queries);
    TextIds {
        queries: take(num_queries),
        passages: take(num_queries * group_size),
        positives: num_positives.into_iter().map(|count| take(count as usize)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_unpacked_as_they_were_packed() {
        let ids = TextIds {
            queries: vec![7, u64::MAX],
            passages: vec![1, 2, 3, 4, 5, 6],
            positives: vec![vec![1], vec![4, 9, u64::MAX - 1]],
        };
        for (ids, group_size) in [(ids, 3), (TextIds::default(), 2)] {
            assert_eq!(unpacked(packed(&ids).into_iter().map(i64::cast_unsigned), group_size), ids);
        }
    }
}
