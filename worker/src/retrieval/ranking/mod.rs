//! Exact ranking of an index's documents, over ranks: what `search` writes.
//!
//! - dense, lexical, BM25 over tokens and over words: every document; each rank searches blocks of its own, and the
//!   best lists are merged (`first.rs`).
//! - dense + lexical: the documents of both lists.
//! - multi-vector, and all three: the dense list's first, encoded again (`again.rs`).
//!
//! Every score and every list is the same for any number of ranks (docs/know/retrieval.md says why).

mod again;
mod engine;
mod first;
mod merge;
mod pairs;
mod queries;
mod timed;

use tercet_protocol::args::Ranking;
use tercet_retrieval::{Hit, Index, fuse};

use crate::files::CommandError;
pub use engine::Search;
use merge::merged;
pub use pairs::PairScorer;
use queries::Vectors;
pub use queries::{Query, RUN};

/// The lists of one ranking, one for each query.
pub type Ranked = (Ranking, Vec<Vec<Hit>>);

/// Queries of a batch at most, however much memory there is.
const LARGEST_BATCH: u64 = 8192;

impl Search<'_> {
    /// How many queries, with their lists by each of `rankings`, have room in `memory` bytes of a rank.
    pub fn batch_len(&self, memory: u64, rankings: &[Ranking]) -> usize {
        let (dense, multi_vector) = self.encoder.dims();
        let encodes_again = rankings.iter().any(|ranking| ranking.encodes_again());
        // A list is open to twice its length while it is made, and there once more when ranks' lists are merged.
        let lists = (4 * 8 * rankings.len() as u64).saturating_mul(self.lists.top as u64);
        // This rank's queries, and all ranks'.
        let vectors = if encodes_again { 2 * 4 * self.query_max_len as u64 * multi_vector as u64 } else { 0 };
        let a_query = lists.saturating_add(vectors + 8 * dense as u64);
        let room = (memory / a_query).min(LARGEST_BATCH) as usize;
        // Whole runs, so that a query is encoded beside the same ones whatever room there is.
        (room / RUN * RUN).max(RUN)
    }

    /// The lists of `queries` by each of `rankings`, on rank 0; the other ranks have lists of no meaning. Every rank
    /// calls it with the same.
    ///
    /// # Errors
    /// A query that the tokenizer cannot take, a block that is damaged, or a collective that failed.
    pub fn rank(&self, queries: &[Query], rankings: &[Ranking]) -> anyhow::Result<Vec<Ranked>> {
        let has = |ranking: Ranking| rankings.contains(&ranking);
        let encodes_again = rankings.iter().any(|ranking| ranking.encodes_again());
        let vectors = Vectors::of(self, queries, encodes_again)?;
        let needs = |ranking: Ranking| has(ranking) || rankings.iter().any(|other| made_of(*other).contains(&ranking));
        let [dense, lexical, bm25, bm25_words] = self.search_own(&vectors, queries, FIRST.map(needs));

        // All ranks need the dense list's best.
        let dense = merged(self, dense, self.lists.top)?;
        let lexical = merged(self, lexical, self.lists.top)?;
        let bm25 = merged(self, bm25, self.lists.top)?;
        let bm25_words = merged(self, bm25_words, self.lists.top)?;
        let [multi_vector, all] = match encodes_again {
            true => self.encode_again(&vectors, &dense)?.map(Some),
            false => [None, None],
        };
        let mut ranked = Vec::new();
        for &ranking in rankings {
            let lists = match ranking {
                Ranking::Dense => dense.clone(),
                Ranking::Lexical => lexical.clone(),
                Ranking::Bm25 => bm25.clone(),
                Ranking::Bm25Words => bm25_words.clone(),
                Ranking::DenseLexical => {
                    let [of_dense, of_lexical] = self.lists.dense_lexical_weights.0;
                    let weights = [of_dense, of_lexical / self.lexical.scale()].map(|weight| weight as f32);
                    let pairs = dense.iter().zip(&lexical);
                    pairs.map(|(dense, lexical)| fuse([dense, lexical], weights, self.lists.top, self.index)).collect()
                }
                Ranking::MultiVector => multi_vector.clone().unwrap_or_default(),
                Ranking::All => all.clone().unwrap_or_default(),
            };
            ranked.push((ranking, lists));
        }
        Ok(ranked)
    }
}

/// What a model is judged by unless something else is asked for: its heads and their combinations, in the order in
/// which people read them. The recipe has the same by name (`EvalSection::BY_HEADS`).
pub const BY_HEADS: [Ranking; 5] =
    [Ranking::Dense, Ranking::Lexical, Ranking::MultiVector, Ranking::DenseLexical, Ranking::All];

/// Rankings of every document.
const FIRST: [Ranking; 4] = [Ranking::Dense, Ranking::Lexical, Ranking::Bm25, Ranking::Bm25Words];

/// The heads that a ranking is made of.
fn made_of(ranking: Ranking) -> &'static [Ranking] {
    match ranking {
        Ranking::Dense | Ranking::MultiVector => &[Ranking::Dense],
        Ranking::Lexical => &[Ranking::Lexical],
        Ranking::Bm25 => &[Ranking::Bm25],
        Ranking::Bm25Words => &[Ranking::Bm25Words],
        Ranking::DenseLexical => &[Ranking::Dense, Ranking::Lexical],
        Ranking::All => &[Ranking::Dense],
    }
}

/// The rankings that are asked for, or all that `index` has without encoding passages again.
///
/// # Errors
/// [`CommandError::Usage`]: the index lacks what one of them is made of.
pub fn possible(asked: &[Ranking], index: &Index) -> Result<Vec<Ranking>, CommandError> {
    let heads = index.settings().encoding.heads;
    let holds = |part: &Ranking| match part {
        Ranking::Lexical => heads.lexical,
        Ranking::Bm25 => heads.bm25,
        Ranking::Bm25Words => heads.words,
        _ => heads.dense,
    };
    let has = |ranking: Ranking| ranking.needs_of_an_index().iter().all(holds);
    let mut rankings = match asked.is_empty() {
        true => [&FIRST[..], &[Ranking::DenseLexical]].concat().into_iter().filter(|ranking| has(*ranking)).collect(),
        false => asked.to_vec(),
    };
    rankings.sort_unstable();
    rankings.dedup();
    match rankings.iter().find(|ranking| !has(**ranking)) {
        Some(lacking) => Err(CommandError::Usage(format!(
            "the ranking {}: the index lacks a head that it needs; it has{}. Ask for another, or index the corpus with \
             more --heads",
            lacking.name(),
            [(heads.dense, " dense"), (heads.lexical, " lexical"), (heads.bm25, " bm25"), (heads.words, " words")]
                .map(|(has, name)| if has { name } else { "" })
                .concat()
        ))),
        None => Ok(rankings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_names_the_same_rankings() {
        assert_eq!(BY_HEADS.map(|ranking| ranking.name()), tercet_configs::EvalSection::BY_HEADS);
    }
}
