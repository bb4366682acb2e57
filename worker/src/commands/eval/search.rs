//! Exact search over a shared corpus: each rank scores its own documents, and the best lists are merged.
//!
//! - dense: inner product with every document.
//! - lexical: an inverted index over every document; those without a common token are not listed.
//! - dense + lexical: both, over every document.
//! - multi-vector, and all three: the documents that the dense head puts first, scored anew.
//!
//! Legend: Q queries of a block, D this rank's documents, d dense width, dm vector width, L a document's vectors,
//! N the vectors of all queries that want a document.

use std::collections::HashMap;

use tch::{Device, Tensor};
use tercet_cluster::Collective;
use tercet_configs::HYBRID_WEIGHTS;

use super::hits::{Hit, TopHits, merge};
use crate::retrieval::vectors::{TextVectors, TokenWeights, floats, gather};

/// Documents in a list of the dense, lexical and dense + lexical rankings.
pub const DEPTH: usize = 1000;
/// Documents of the dense ranking that the multi-vector head scores anew.
pub const RERANKED: usize = 200;
/// The weights of the three heads' scores in a combination. A model's folder does not say which it was trained with.
const WEIGHTS: [f32; 3] = [HYBRID_WEIGHTS[0] as f32, HYBRID_WEIGHTS[1] as f32, HYBRID_WEIGHTS[2] as f32];
/// Scores held at a time, [Q, D].
const SCORES_AT_A_TIME: usize = 1 << 24;

/// One ranked list per query for each head and combination.
#[derive(Debug, Default)]
pub struct Rankings {
    /// By the dense head.
    pub dense: Vec<Vec<Hit>>,
    /// By the lexical head.
    pub lexical: Vec<Vec<Hit>>,
    /// The dense head's first `RERANKED`, by the multi-vector head.
    pub multi_vector: Vec<Vec<Hit>>,
    /// By dense + 0.3·lexical.
    pub dense_lexical: Vec<Vec<Hit>>,
    /// The dense head's first `RERANKED`, by dense + 0.3·lexical + multi-vector.
    pub all: Vec<Vec<Hit>>,
}

impl Rankings {
    /// Name and lists of each, in the order in which people read them.
    pub fn by_head(&self) -> [(&'static str, &[Vec<Hit>]); 5] {
        [
            ("dense", &self.dense),
            ("lexical", &self.lexical),
            ("multi_vector", &self.multi_vector),
            ("dense_lexical", &self.dense_lexical),
            ("all", &self.all),
        ]
    }
}

/// This rank's documents: their numbers, representations and inverted index.
pub struct Corpus {
    numbers: Vec<u32>,
    vectors: TextVectors,
    postings: HashMap<i64, Vec<(u32, f32)>>,
    device: Device,
}

impl Corpus {
    /// Document `numbers[i]` has the i-th of `vectors`; dense products are computed on `device`.
    pub fn new(numbers: Vec<u32>, vectors: TextVectors, device: Device) -> Self {
        let mut postings = HashMap::<i64, Vec<(u32, f32)>>::new();
        for (doc, weights) in (0u32..).zip(&vectors.lexical) {
            for &(token, weight) in weights.iter().filter(|pair| pair.1 > 0.0) {
                postings.entry(token).or_default().push((doc, weight));
            }
        }
        Self { numbers, vectors, postings, device }
    }

    /// Ranks the whole corpus for `queries`, the same on all ranks, but for the one document that `left_out` names for
    /// each query. Every rank calls it; all have the result.
    ///
    /// # Errors
    /// As the collectives'.
    pub fn search(
        &self,
        queries: &TextVectors,
        left_out: &[Option<u32>],
        ranks: &dyn Collective,
    ) -> anyhow::Result<Rankings> {
        let [dense, lexical, dense_lexical] = self.search_own(queries, left_out);
        let dense = merge_ranks(ranks, dense, DEPTH)?;
        let [multi_vector, all] = self.rerank_own(queries, &dense);
        Ok(Rankings {
            dense,
            lexical: merge_ranks(ranks, lexical, DEPTH)?,
            multi_vector: merge_ranks(ranks, multi_vector, RERANKED)?,
            dense_lexical: merge_ranks(ranks, dense_lexical, DEPTH)?,
            all: merge_ranks(ranks, all, RERANKED)?,
        })
    }

    /// The best of this rank's documents: dense, lexical, dense + lexical.
    fn search_own(&self, queries: &TextVectors, left_out: &[Option<u32>]) -> [Vec<Vec<Hit>>; 3] {
        let mut found: [Vec<Vec<Hit>>; 3] = Default::default();
        let mut lexical_scores = vec![0f32; self.numbers.len()];
        for_each_dense_row(&queries.dense, &self.vectors.dense, self.device, |query, dense_scores| {
            self.lexical_scores(&queries.lexical[query], &mut lexical_scores);
            let mut top: [TopHits; 3] = std::array::from_fn(|_| TopHits::new(DEPTH));
            for ((&doc, &dense), &lexical) in self.numbers.iter().zip(dense_scores).zip(&lexical_scores) {
                if left_out[query] == Some(doc) {
                    continue;
                }
                top[0].push(Hit::new(doc, dense));
                if lexical > 0.0 {
                    top[1].push(Hit::new(doc, lexical));
                }
                top[2].push(Hit::new(doc, WEIGHTS[0] * dense + WEIGHTS[1] * lexical));
            }
            for (lists, top) in found.iter_mut().zip(top) {
                lists.push(top.into_ranking());
            }
        });
        found
    }

    /// The lexical score of each of this rank's documents.
    fn lexical_scores(&self, query: &TokenWeights, scores: &mut [f32]) {
        scores.fill(0.0);
        for (token, query_weight) in query {
            for &(doc, weight) in self.postings.get(token).into_iter().flatten() {
                scores[doc as usize] += query_weight * weight;
            }
        }
    }

    /// Scores anew each query's candidates that are this rank's documents: multi-vector, and all three heads.
    ///
    /// It goes document by document, with all queries that want one at once. A document has many vectors, which stay
    /// where they are; the queries' few vectors are brought to them.
    fn rerank_own(&self, queries: &TextVectors, candidates: &[Vec<Hit>]) -> [Vec<Vec<Hit>>; 2] {
        let own: HashMap<u32, usize> = self.numbers.iter().enumerate().map(|(i, &number)| (number, i)).collect();
        let mut wanted: Vec<Vec<(usize, f32)>> = vec![Vec::new(); self.numbers.len()];
        for (query, ranking) in candidates.iter().enumerate() {
            for hit in ranking.iter().take(RERANKED) {
                if let Some(&doc) = own.get(&hit.doc) {
                    wanted[doc].push((query, hit.score));
                }
            }
        }
        let mut found = [vec![Vec::new(); queries.num_texts()], vec![Vec::new(); queries.num_texts()]];
        for (doc, askers) in wanted.iter().enumerate().filter(|(_, askers)| !askers.is_empty()) {
            let number = self.numbers[doc];
            let asking: Vec<&Tensor> = askers.iter().map(|&(query, _)| &queries.multi_vector[query]).collect();
            let scores = multi_vector_scores(&asking, &self.vectors.multi_vector[doc], self.device);
            for (&(query, dense), multi_vector) in askers.iter().zip(scores) {
                let lexical = dot(&queries.lexical[query], &self.vectors.lexical[doc]);
                found[0][query].push(Hit::new(number, multi_vector));
                let hybrid = WEIGHTS[0] * dense + WEIGHTS[1] * lexical + WEIGHTS[2] * multi_vector;
                found[1][query].push(Hit::new(number, hybrid));
            }
        }
        found
    }
}

/// Calls `visit` with each query's inner products with all of `docs` [D, d], in the order of `queries`.
pub fn for_each_dense_row(queries: &Tensor, docs: &Tensor, device: Device, mut visit: impl FnMut(usize, &[f32])) {
    let (num_queries, num_docs) = (queries.size()[0] as usize, docs.size()[0] as usize);
    let docs = docs.to_device(device).tr(); // [d, D]
    let block = (SCORES_AT_A_TIME / num_docs.max(1)).max(1);
    for start in (0..num_queries).step_by(block) {
        let count = block.min(num_queries - start);
        let scores = queries.narrow(0, start as i64, count as i64).to_device(device).matmul(&docs); // [Q, D]
        let scores = floats(&scores);
        for query in 0..count {
            visit(start + query, &scores[query * num_docs..(query + 1) * num_docs]);
        }
    }
}

/// Mean over each query's vectors of the best inner product with the document's; 0 where either has none.
fn multi_vector_scores(queries: &[&Tensor], doc: &Tensor, device: Device) -> Vec<f32> {
    if doc.size()[0] == 0 {
        return vec![0.0; queries.len()];
    }
    let all = Tensor::cat(queries, 0).to_device(device); // [N, dm]
    let best = floats(&all.matmul(&doc.to_device(device).tr()).amax([1], false)); // [N, L] → [N]
    let mut rest = best.as_slice();
    let score = |query: &&Tensor| {
        let (own, others) = rest.split_at(query.size()[0] as usize);
        rest = others;
        own.iter().sum::<f32>() / own.len().max(1) as f32
    };
    queries.iter().map(score).collect()
}

/// Σ of the products of weights of common tokens; both ascend by token id.
fn dot(query: &TokenWeights, doc: &TokenWeights) -> f32 {
    let mut sum = 0.0;
    let mut doc = doc.iter().peekable();
    for &(token, query_weight) in query {
        while doc.next_if(|pair| pair.0 < token).is_some() {}
        if let Some(&(_, weight)) = doc.next_if(|pair| pair.0 == token) {
            sum += query_weight * weight;
        }
    }
    sum
}

/// For each query the best `depth` of all ranks' lists, on every rank. Every rank calls it with the same number of
/// lists.
///
/// # Errors
/// As the collectives'.
pub fn merge_ranks(ranks: &dyn Collective, lists: Vec<Vec<Hit>>, depth: usize) -> anyhow::Result<Vec<Vec<Hit>>> {
    if ranks.world_size() == 1 {
        return Ok(lists.into_iter().map(|list| merge([list], depth)).collect());
    }
    let lens = gather(ranks, &lists.iter().map(|list| list.len() as i64).collect::<Vec<_>>())?;
    let docs = gather(ranks, &lists.iter().flatten().map(|hit| i64::from(hit.doc)).collect::<Vec<_>>())?;
    let scores = gather(ranks, &lists.iter().flatten().map(|hit| hit.score).collect::<Vec<_>>())?;
    // Each rank's hits, of which the queries in turn take theirs.
    let mut hits: Vec<_> = docs
        .into_iter()
        .zip(scores)
        .map(|(docs, scores)| docs.into_iter().zip(scores).map(|(doc, score)| Hit::new(doc as u32, score)))
        .collect();
    let merged = (0..lists.len()).map(|query| {
        let parts: Vec<Vec<Hit>> =
            hits.iter_mut().zip(&lens).map(|(hits, lens)| hits.take(lens[query] as usize).collect()).collect();
        merge(parts, depth)
    });
    Ok(merged.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;
    use tercet_cluster::Solo;

    /// Texts of `lens` tokens, 8 wide, each weighing some of 30 tokens; others each time.
    fn texts(lens: &[i64]) -> TextVectors {
        let options = (Kind::Float, Device::Cpu);
        let weights = floats(&Tensor::rand([lens.len() as i64, 30], options));
        let lexical = weights.chunks(30).map(|row| (0..30).zip(row.iter().copied()).filter(|p| p.1 > 0.8).collect());
        TextVectors {
            dense: Tensor::randn([lens.len() as i64, 8], options),
            lexical: lexical.collect(),
            multi_vector: lens.iter().map(|&len| Tensor::randn([len, 8], options)).collect(),
        }
    }

    /// Σ over query vectors of the best inner product, over their number, one number at a time.
    fn late_interaction(query: &Tensor, doc: &Tensor) -> f32 {
        let rows = |t: &Tensor| floats(t).chunks(8).map(<[f32]>::to_vec).collect::<Vec<_>>();
        let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let best = |q: &Vec<f32>| rows(doc).iter().map(|d| inner(q, d)).fold(f32::NEG_INFINITY, f32::max);
        rows(query).iter().map(best).sum::<f32>() / query.size()[0] as f32
    }

    fn assert_same(found: &[Hit], mut expected: Vec<Hit>, depth: usize) {
        expected.sort_by(Hit::rank_order);
        expected.truncate(depth);
        assert_eq!(found.iter().map(|h| h.doc).collect::<Vec<_>>(), expected.iter().map(|h| h.doc).collect::<Vec<_>>());
        assert!(found.iter().zip(&expected).all(|(f, e)| (f.score - e.score).abs() < 1e-4));
    }

    #[test]
    fn every_ranking_is_that_of_scoring_each_pair_by_itself() {
        let (queries, docs) = (texts(&[3, 1, 5]), texts(&(0..300).map(|i| 1 + i % 7).collect::<Vec<_>>()));
        let numbers: Vec<u32> = (0..300).rev().collect();
        let dense = floats(&queries.dense.matmul(&docs.dense.tr()));
        let pair = |q: usize, d: usize| {
            let lexical = dot(&queries.lexical[q], &docs.lexical[d]);
            (dense[q * 300 + d], lexical, late_interaction(&queries.multi_vector[q], &docs.multi_vector[d]))
        };
        let expected: Vec<Vec<_>> = (0..3).map(|q| (0..300).map(|d| pair(q, d)).collect()).collect();
        let corpus = Corpus::new(numbers.clone(), docs, Device::Cpu);
        let left_out = [None, Some(7), None];
        let found = corpus.search(&queries, &left_out, &Solo::new()).unwrap();
        for (q, scores) in expected.iter().enumerate() {
            let hits = |score: &dyn Fn(&(f32, f32, f32)) -> f32| -> Vec<Hit> {
                let listed = numbers.iter().zip(scores).filter(|(number, _)| left_out[q] != Some(**number));
                listed.map(|(&number, scores)| Hit::new(number, score(scores))).collect()
            };
            assert_same(&found.dense[q], hits(&|s| s.0), DEPTH);
            assert_same(&found.dense_lexical[q], hits(&|s| s.0 + 0.3 * s.1), DEPTH);
            assert_same(&found.lexical[q], hits(&|s| s.1).into_iter().filter(|hit| hit.score > 0.0).collect(), DEPTH);
            let candidates: Vec<u32> = found.dense[q][..RERANKED].iter().map(|hit| hit.doc).collect();
            let among = |hits: Vec<Hit>| hits.into_iter().filter(|hit| candidates.contains(&hit.doc)).collect();
            assert_same(&found.multi_vector[q], among(hits(&|s| s.2)), RERANKED);
            assert_same(&found.all[q], among(hits(&|s| s.0 + 0.3 * s.1 + s.2)), RERANKED);
        }
    }

    #[test]
    fn texts_without_tokens_score_nothing() {
        let mut queries = texts(&[0, 2]);
        queries.lexical[0].clear();
        let corpus = Corpus::new(vec![1, 0], texts(&[0, 3]), Device::Cpu);
        let found = corpus.search(&queries, &[None, None], &Solo::new()).unwrap();
        assert!(found.multi_vector[0].iter().all(|hit| hit.score == 0.0));
        assert!(found.lexical[0].is_empty());
    }
}
