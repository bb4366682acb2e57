//! The best of all documents, by dense vectors and by postings: each rank looks at blocks of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tercet_cluster::heartbeat;
use tercet_retrieval::{Hit, Index, TopHits};

use super::engine::Search;
use super::queries::{Query, Vectors};
use crate::ops::inner_products::{Keep, offer_products};
use crate::tensors::libtorch::parallel;

impl Search<'_> {
    /// The best of this rank's documents by the dense head, the lexical head, BM25 and BM25 over words, of which
    /// `wanted` says which are.
    pub(super) fn search_own(&self, vectors: &Vectors, queries: &[Query], wanted: [bool; 4]) -> [Vec<Vec<Hit>>; 4] {
        let lists = || Kept::new(self.index, queries, self.lists.top);
        let (dense, lexical, bm25, bm25_words) = (lists(), lists(), lists(), lists());
        let blocks = self.index.blocks().iter().enumerate();
        for (number, block) in blocks.skip(self.ranks.rank()).step_by(self.ranks.world_size()) {
            // A rank that goes through large blocks for long does not hang.
            heartbeat::touch();
            let first = self.index.first_doc(number);
            if let (Some((rows, _)), true) = (block.dense(), wanted[0]) {
                offer_products(&vectors.dense, rows, &InBlock { kept: &dense, first });
            }
            if wanted[1] {
                let weights = self.lexical;
                lexical.add(first, &vectors.lexical, |query, room, hit| block.score_lexical(query, weights, room, hit));
            }
            if wanted[2] {
                let norms = block.bm25_norms(&self.bm25);
                bm25.add(first, &vectors.bm25, |query, room, hit| block.score_bm25(query, &norms, room, hit));
            }
            if wanted[3] {
                let norms = block.word_norms(&self.bm25_words);
                bm25_words.add(first, &vectors.bm25_words, |query, room, hit| {
                    block.score_bm25_words(query, &norms, room, hit);
                });
            }
        }
        [dense, lexical, bm25, bm25_words].map(Kept::into_lists)
    }
}

/// The best so far of each query.
struct Kept<'a> {
    index: &'a Index,
    queries: &'a [Query<'a>],
    depth: usize,
    /// The most documents that a query leaves out.
    most_left_out: usize,
    tops: Vec<Mutex<TopHits>>,
}

impl<'a> Kept<'a> {
    fn new(index: &'a Index, queries: &'a [Query<'a>], depth: usize) -> Self {
        let tops = queries.iter().map(|_| Mutex::new(TopHits::new(depth))).collect();
        let most_left_out = queries.iter().map(|query| query.left_out.len()).max().unwrap_or(0);
        Self { index, queries, depth, most_left_out, tops }
    }

    fn top(&self, query: usize) -> MutexGuard<'_, TopHits> {
        // A panic ends the process.
        self.tops[query].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers hits of `query` in the block whose first document is `first`.
    fn offer(&self, query: usize, first: u32, hits: impl Iterator<Item = (usize, f32)>) {
        let (mut top, left_out) = (self.top(query), self.queries[query].left_out);
        for (row, score) in hits {
            let hit = Hit::new(first + row as u32, score);
            if left_out.binary_search(&hit.doc).is_err() {
                top.push(hit, self.index);
            }
        }
    }

    /// Offers each of `queries` what `score` finds of it in a block, on all threads.
    fn add<T: Sync>(
        &self,
        first: u32,
        queries: &[Vec<(T, f32)>],
        score: impl Fn(&[(T, f32)], &mut Vec<f32>, &mut dyn FnMut(usize, f32)) + Sync,
    ) {
        parallel(queries.len(), 1, |numbers| {
            let (mut room, mut hits) = (Vec::new(), Vec::new());
            for query in numbers {
                let floor = self.top(query).floor();
                hits.clear();
                score(&queries[query], &mut room, &mut |row, score| {
                    if score >= floor {
                        hits.push((row, score));
                    }
                });
                self.offer(query, first, hits.iter().copied());
            }
        });
    }

    fn into_lists(self) -> Vec<Vec<Hit>> {
        let list = |top: Mutex<TopHits>| top.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.tops.into_iter().map(|top| list(top).into_ranking(self.index)).collect()
    }
}

/// What is kept of one block's documents.
struct InBlock<'a> {
    kept: &'a Kept<'a>,
    first: u32,
}

impl Keep for InBlock<'_> {
    fn depth(&self) -> usize {
        self.kept.depth + self.kept.most_left_out
    }

    fn floor(&self, query: usize) -> f32 {
        self.kept.top(query).floor()
    }

    fn offer(&self, query: usize, products: &mut dyn Iterator<Item = (usize, f32)>) {
        self.kept.offer(query, self.first, products);
    }
}
