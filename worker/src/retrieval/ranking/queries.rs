//! Queries, and what they are searched with.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::iter::once;

use tch::Tensor;
use tercet_retrieval::{TokenWeights, WordWeights, words};

use super::engine::Search;
use crate::model::representation::Heads;
use crate::retrieval::ahead::ahead;
use crate::retrieval::blocks::Tokenised;
use crate::retrieval::vectors::{TextVectors, token_weights};

/// Queries that go through the encoder together, whatever the number of ranks.
pub const RUN: usize = 64;

/// A query.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// What the model reads.
    pub text: &'a str,
    /// Documents that its lists leave out, ascending.
    pub left_out: &'a [u32],
}

/// The representations of Q queries, on every rank.
pub(super) struct Vectors {
    /// [Q, d], on this rank's device.
    pub dense: Tensor,
    pub lexical: Vec<TokenWeights>,
    /// qtf · idf of each token.
    pub bm25: Vec<TokenWeights>,
    /// The same of each word.
    pub bm25_words: Vec<WordWeights>,
    /// Per query, [tokens, dm], on the host; of no vectors if they are not wanted.
    pub multi_vector: Vec<Tensor>,
}

impl Vectors {
    /// Every rank calls it.
    pub fn of(search: &Search, queries: &[Query], multi_vector: bool) -> anyhow::Result<Self> {
        let Search { index, encoder, ranks, query_prompt, query_max_len, .. } = *search;
        let heads = index.settings().encoding.heads;
        let texts: Vec<&str> = queries.iter().map(|query| query.text).collect();
        let own = texts.chunks(RUN).skip(ranks.rank()).step_by(ranks.world_size());
        let wanted = Heads { lexical: heads.lexical, multi_vector };
        let tokenizer = encoder.tokenizer();
        // A rank may have no run of its own, and the widths are those of no text.
        let runs = once(&[][..]).chain(own).map(|run| Tokenised::of(tokenizer, query_prompt, run));
        let parts = ahead(runs, |coming| {
            let encoded = |run: anyhow::Result<_>| Ok(encoder.encode_tokenised(&run?, query_max_len, wanted)?.vectors);
            coming.into_iter().map(encoded).collect::<anyhow::Result<_>>()
        })?;
        let all = TextVectors::concat(parts).gather_runs(RUN, ranks)?;
        Ok(Self {
            dense: all.dense.to_device(encoder.device()),
            lexical: all.lexical.iter().map(token_weights).collect(),
            bm25: if heads.bm25 { Self::bm25(search, &texts)? } else { vec![TokenWeights::new(); texts.len()] },
            bm25_words: if heads.words { Self::bm25_words(search, &texts) } else { vec![Vec::new(); texts.len()] },
            multi_vector: all.multi_vector,
        })
    }

    /// The weights of each text that BM25 is computed with.
    pub fn bm25(search: &Search, texts: &[&str]) -> anyhow::Result<Vec<TokenWeights>> {
        let tokens = search.encoder.tokens(texts, search.query_max_len)?;
        Ok(weighed(tokens, |token| search.bm25.idf(search.index.document_frequency(*token))))
    }

    pub fn bm25_words(search: &Search, texts: &[&str]) -> Vec<WordWeights> {
        let words = texts.iter().map(|text| words(text)).collect();
        weighed(words, |word: &String| search.bm25_words.idf(search.index.word_frequency(word)))
    }
}

/// qtf · idf of each query's terms, ascending by term.
fn weighed<T: Ord + Clone + Hash>(queries: Vec<Vec<T>>, idf: impl Fn(&T) -> f64) -> Vec<Vec<(T, f32)>> {
    let distinct: HashSet<&T> = queries.iter().flatten().collect();
    let idf: HashMap<T, f64> = distinct.into_iter().map(|term| (term.clone(), idf(term))).collect();
    let weigh = |terms: Vec<T>| {
        let mut counts = BTreeMap::<T, u32>::new();
        terms.into_iter().for_each(|term| *counts.entry(term).or_default() += 1);
        let weight = |(term, count): (T, u32)| ((f64::from(count) * idf[&term]) as f32, term);
        counts.into_iter().map(weight).map(|(weight, term)| (term, weight)).collect()
    };
    queries.into_iter().map(weigh).collect()
}
