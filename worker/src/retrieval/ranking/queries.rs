//! Queries, and what they are searched with.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tch::Tensor;
use tercet_protocol::args::{Lists, Ranking};
use tercet_retrieval::TokenWeights;

use super::engine::Search;
use crate::model::representation::Heads;
use crate::retrieval::texts::TextEncoder;
use crate::retrieval::vectors::token_weights;

/// Queries that go through the encoder together, whatever the number of ranks.
pub const RUN: usize = 64;

/// Queries of a batch at most, however much memory there is.
const LARGEST_BATCH: u64 = 8192;

/// A query.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// What the model reads.
    pub text: &'a str,
    /// Documents that its lists leave out, ascending.
    pub left_out: &'a [u32],
}

/// How many queries there is room for in `memory` bytes of a rank, when they are ranked in `rankings`: whole runs.
pub fn at_a_time(
    memory: u64,
    (lists, rankings): (&Lists, &[Ranking]),
    query_max_len: usize,
    encoder: &TextEncoder,
) -> usize {
    let (dense, multi_vector) = encoder.dims();
    let encodes_again = rankings.iter().any(|ranking| matches!(ranking, Ranking::MultiVector | Ranking::All));
    // A list is open to twice its length while it is made, and there once more when ranks' lists are merged.
    let lists = 4 * 8 * lists.top as u64 * rankings.len() as u64;
    // This rank's queries, and all ranks'.
    let vectors = if encodes_again { 2 * 4 * query_max_len as u64 * multi_vector as u64 } else { 0 };
    let room = (memory / (lists + vectors + 8 * dense as u64)).min(LARGEST_BATCH) as usize;
    // Whole runs, so that a query is encoded beside the same ones whatever room there is.
    (room / RUN * RUN).max(RUN)
}

/// The representations of Q queries, on every rank.
pub(super) struct Vectors {
    /// [Q, d], on this rank's device.
    pub dense: Tensor,
    pub lexical: Vec<TokenWeights>,
    /// Of each token qtf · idf.
    pub bm25: Vec<TokenWeights>,
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
        let mut parts = vec![encoder.encode_stretch(query_prompt, &[], query_max_len, wanted)?.vectors];
        for run in own {
            parts.push(encoder.encode_stretch(query_prompt, run, query_max_len, wanted)?.vectors);
        }
        let all = crate::retrieval::vectors::TextVectors::concat(parts).gather_runs(RUN, ranks)?;
        Ok(Self {
            dense: all.dense.to_device(encoder.device()),
            lexical: all.lexical.iter().map(token_weights).collect(),
            bm25: if heads.bm25 { Self::bm25(search, &texts)? } else { vec![TokenWeights::new(); texts.len()] },
            multi_vector: all.multi_vector,
        })
    }

    /// Of each text the weights that BM25 is computed with.
    pub fn bm25(search: &Search, texts: &[&str]) -> anyhow::Result<Vec<TokenWeights>> {
        let tokens = search.encoder.tokens(texts, search.query_max_len)?;
        let distinct: BTreeSet<u32> = tokens.iter().flatten().copied().collect();
        let idf: HashMap<u32, f64> = distinct
            .into_iter()
            .map(|token| (token, search.bm25.idf(search.index.document_frequency(token))))
            .collect();
        let weights = |tokens: &Vec<u32>| {
            let mut counts = BTreeMap::<u32, u32>::new();
            tokens.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
            counts.into_iter().map(|(token, count)| (token, (f64::from(count) * idf[&token]) as f32)).collect()
        };
        Ok(tokens.iter().map(weights).collect())
    }
}
