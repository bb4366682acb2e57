//! Scores of pairs of a query and a passage, whether or not an index has the passage.
//!
//! Queries are encoded together, and passages in stretches. What comes out depends on the given texts alone.

use std::collections::HashMap;
use std::iter::once;
use std::ops::Range;

use tch::Tensor;
use tercet_protocol::args::Ranking;
use tercet_retrieval::{Bm25, LexicalWeights, Stored, words};

use super::again::{STRETCH, late_interaction};
use super::engine::Search;
use super::queries::Vectors;
use crate::model::representation::Heads;
use crate::ops::inner_products::products;
use crate::retrieval::ahead::ahead;
use crate::retrieval::blocks::{BLOCK_BYTES, Tokenised, blocks};
use crate::retrieval::texts::TextEncoder;
use crate::retrieval::vectors::{TextVectors, floats};

/// Scores by a weighted sum of a model's heads.
pub struct PairScorer<'a> {
    /// The model.
    pub encoder: &'a TextEncoder<'a>,
    /// What stands before each query, and its tokens at most.
    pub query: (&'a str, usize),
    /// The same of each passage.
    pub passage: (&'a str, usize),
    /// How a passage's numbers are rounded, as an index does it.
    pub stored: Stored,
    /// What weights of tokens are taken for.
    pub lexical: LexicalWeights,
    /// Weights of the dense, the lexical and the multi-vector score.
    pub weights: [f32; 3],
}

impl PairScorer<'_> {
    /// The scores of each of `queries` with the passages in its place.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take, or representations that are not numbers.
    pub fn score(&self, queries: &[&str], passages: &[Vec<&str>]) -> anyhow::Result<Vec<Vec<f32>>> {
        let [_, of_lexical, of_multi_vector] = self.weights;
        let heads = Heads { lexical: of_lexical != 0.0, multi_vector: of_multi_vector != 0.0 };
        let pairs = passages.iter().enumerate().flat_map(|(query, own)| own.iter().map(move |text| (query, *text)));
        let (of_query, texts): (Vec<usize>, Vec<&str>) = pairs.unzip();
        let in_block = |block: Range<usize>| {
            let end = block.end;
            block.step_by(STRETCH).map(move |start| start..(start + STRETCH).min(end))
        };
        let stretches: Vec<Range<usize>> = blocks(&texts, BLOCK_BYTES).into_iter().flat_map(in_block).collect();
        let (encoder, tokenizer) = (self.encoder, self.encoder.tokenizer());
        let (of_queries, of_passages) = ((self.query.0, queries), self.passage.0);
        let tokens = once(of_queries).chain(stretches.iter().map(|stretch| (of_passages, &texts[stretch.clone()])));
        ahead(tokens.map(|(prompt, texts)| Tokenised::of(tokenizer, prompt, texts)), |coming| {
            let mut scores = vec![Vec::new(); queries.len()];
            let mut coming = coming.into_iter();
            let Some(tokens) = coming.next() else { return Ok(scores) };
            let asked = encoder.encode_tokenised(&tokens?, self.query.1, heads)?.vectors;
            for (stretch, tokens) in stretches.iter().zip(coming) {
                let docs = encoder.encode_tokenised(&tokens?, self.passage.1, heads)?.vectors;
                self.score_stretch(&asked, &of_query[stretch.clone()], &docs, &mut scores);
            }
            Ok(scores)
        })
    }

    /// Adds the scores of `docs` to those of the queries that ask for them, each of one in its place.
    fn score_stretch(&self, asked: &TextVectors, asking: &[usize], docs: &TextVectors, scores: &mut [Vec<f32>]) {
        let [of_dense, of_lexical, of_multi_vector] = self.weights;
        let device = self.encoder.device();
        let rounded: Vec<f32> = floats(&docs.dense).into_iter().map(|x| self.stored.rounded(x)).collect();
        let rounded = Tensor::from_slice(&rounded).view_as(&docs.dense);
        let late = match of_multi_vector != 0.0 {
            true => {
                let asking: Vec<Vec<usize>> = asking.iter().map(|&query| vec![query]).collect();
                late_interaction(&asked.multi_vector, &asking, &docs.multi_vector, device).concat()
            }
            false => vec![0.0; asking.len()],
        };
        for (i, &query) in asking.iter().enumerate() {
            let row = |of: &Tensor, i: usize| of.narrow(0, i as i64, 1).to_device(device); // [1, d]
            let dense = products(&row(&asked.dense, query), &row(&rounded, i))[0];
            let lexical = if of_lexical != 0.0 { self.lexical(&asked.lexical[query], &docs.lexical[i]) } else { 0.0 };
            scores[query].push(of_dense * dense + of_lexical * lexical + of_multi_vector * late[i]);
        }
    }

    /// In the order of the query's tokens, as an index adds up.
    fn lexical(&self, query: &[(i64, f32)], doc: &[(i64, f32)]) -> f32 {
        let weights: HashMap<i64, f32> =
            doc.iter().map(|&(token, weight)| (token, self.stored.rounded(weight))).collect();
        query.iter().fold(0.0, |sum, (token, own)| {
            sum + weights.get(token).map_or(0.0, |weight| self.lexical.of(*own) * self.lexical.of(*weight))
        })
    }
}

impl Search<'_> {
    /// The scores that `ranking` gives each of `queries` with the passages in its place. Nobody else need call it.
    ///
    /// # Errors
    /// As [`PairScorer::score`].
    pub fn score_pairs(
        &self,
        ranking: Ranking,
        queries: &[&str],
        passages: &[Vec<&str>],
    ) -> anyhow::Result<Vec<Vec<f32>>> {
        let [dense, lexical] = self.lists.dense_lexical_weights.0;
        let lexical = lexical / self.lexical.scale();
        let weights = match ranking {
            Ranking::Dense => [1.0, 0.0, 0.0],
            Ranking::Lexical => [0.0, 1.0, 0.0],
            Ranking::MultiVector => [0.0, 0.0, 1.0],
            Ranking::DenseLexical => [dense, lexical, 0.0],
            Ranking::All => self.lists.all_weights.0,
            Ranking::Bm25 => {
                let max_len = self.index.settings().encoding.passage_max_len;
                let docs = |own: &[&str]| self.encoder.tokens(own, max_len);
                return by_bm25(&self.bm25, &Vectors::bm25(self, queries)?, docs, passages);
            }
            Ranking::Bm25Words => {
                let docs = |own: &[&str]| Ok(own.iter().map(|text| words(text)).collect());
                return by_bm25(&self.bm25_words, &Vectors::bm25_words(self, queries), docs, passages);
            }
        };
        let encoding = &self.index.settings().encoding;
        let scorer = PairScorer {
            encoder: self.encoder,
            query: (self.query_prompt, self.query_max_len),
            passage: (&encoding.passage_prompt, encoding.passage_max_len),
            stored: encoding.stored,
            // As in a search, where `all` takes weights as they are.
            lexical: if ranking == Ranking::All { LexicalWeights::Exact } else { self.lexical },
            weights: weights.map(|weight| weight as f32),
        };
        scorer.score(queries, passages)
    }
}

/// BM25 of pairs; `terms_of` takes texts apart as the index did.
fn by_bm25<T: PartialEq>(
    bm25: &Bm25,
    queries: &[Vec<(T, f32)>],
    terms_of: impl Fn(&[&str]) -> anyhow::Result<Vec<Vec<T>>>,
    passages: &[Vec<&str>],
) -> anyhow::Result<Vec<Vec<f32>>> {
    let scored = queries.iter().zip(passages).map(|(query, own)| {
        let score = |terms: &Vec<T>| {
            let norm = bm25.norm(terms.len() as u32);
            query.iter().fold(0.0, |sum, (term, weight)| {
                let count = terms.iter().filter(|own| *own == term).count() as f32;
                sum + if count > 0.0 { weight * (count / (count + norm)) } else { 0.0 }
            })
        };
        Ok(terms_of(own)?.iter().map(score).collect())
    });
    scored.collect()
}
