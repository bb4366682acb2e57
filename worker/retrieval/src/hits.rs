//! Ranked lists: the best documents of a query, in trec_eval's order whatever the order they were found in.

use std::cmp::Ordering;

/// A document and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The document's number.
    pub doc: u32,
    /// Higher is better. 32 bits, because trec_eval reads a run file's scores into 32 bits and ties follow from it.
    pub score: f32,
}

impl Hit {
    /// A hit whose score is not minus zero, which would not tie with zero.
    pub fn new(doc: u32, score: f32) -> Self {
        Self { doc, score: score + 0.0 }
    }
}

/// The names of documents, by which ties are broken.
pub trait Ids {
    /// The name of document `doc`.
    fn id(&self, doc: u32) -> &[u8];
}

/// trec_eval's order: by descending score, then by descending id.
pub fn rank_order(a: &Hit, b: &Hit, ids: &(impl Ids + ?Sized)) -> Ordering {
    b.score.total_cmp(&a.score).then_with(|| ids.id(b.doc).cmp(ids.id(a.doc)))
}

/// Keeps the best `depth` of all hits pushed. The result depends neither on the order of the pushes nor on how they
/// were spread over ranks.
#[derive(Debug, Clone)]
pub struct TopHits {
    depth: usize,
    hits: Vec<Hit>,
    /// The worst score that can still be among the best.
    floor: f32,
}

impl TopHits {
    /// An empty list for at most `depth` hits.
    pub fn new(depth: usize) -> Self {
        Self { depth, hits: Vec::new(), floor: f32::NEG_INFINITY }
    }

    /// What scores less than this is not among the best.
    pub fn floor(&self) -> f32 {
        self.floor
    }

    /// Offers a hit.
    pub fn push(&mut self, hit: Hit, ids: &(impl Ids + ?Sized)) {
        if hit.score < self.floor {
            return;
        }
        self.hits.push(hit);
        // Cutting back only at twice the depth makes a push cost O(1) on average.
        if self.hits.len() >= 2 * self.depth.max(1) {
            self.cut(ids);
        }
    }

    /// The best hits, best first.
    pub fn into_ranking(mut self, ids: &(impl Ids + ?Sized)) -> Vec<Hit> {
        self.cut(ids);
        self.hits.sort_unstable_by(|a, b| rank_order(a, b, ids));
        self.hits
    }

    fn cut(&mut self, ids: &(impl Ids + ?Sized)) {
        if self.depth < self.hits.len() && self.depth > 0 {
            let order = |a: &Hit, b: &Hit| rank_order(a, b, ids);
            let (_, worst, _) = self.hits.select_nth_unstable_by(self.depth - 1, order);
            self.floor = worst.score;
        }
        self.hits.truncate(self.depth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids whose order is not that of the numbers.
    struct Named(Vec<String>);

    impl Ids for Named {
        fn id(&self, doc: u32) -> &[u8] {
            self.0[doc as usize].as_bytes()
        }
    }

    fn named(count: u32) -> Named {
        Named((0..count).map(|doc| format!("d{}", doc * 7919 % count)).collect())
    }

    /// Scores with many ties, from a small multiplicative generator.
    fn hits(count: u32) -> Vec<Hit> {
        (0..count).map(|doc| Hit::new(doc, (u64::from(doc) * 48271 % 2147 % 37) as f32 / 8.0)).collect()
    }

    fn sorted(mut hits: Vec<Hit>, depth: usize, ids: &Named) -> Vec<Hit> {
        hits.sort_by(|a, b| rank_order(a, b, ids));
        hits.truncate(depth);
        hits
    }

    #[test]
    fn the_best_are_those_of_a_full_sort_in_whatever_order_they_come() {
        let ids = named(499);
        for depth in [0, 1, 7, 100, 498, 499, 2000] {
            for reversed in [false, true] {
                let mut all = hits(499);
                if reversed {
                    all.reverse();
                }
                let mut top = TopHits::new(depth);
                all.into_iter().for_each(|hit| top.push(hit, &ids));
                assert_eq!(top.into_ranking(&ids), sorted(hits(499), depth, &ids), "depth {depth}");
            }
        }
    }

    #[test]
    fn merging_shares_gives_the_whole() {
        let ids = named(499);
        let mut all = TopHits::new(50);
        for rank in 0..3 {
            let mut own = TopHits::new(50);
            hits(499).into_iter().filter(|hit| hit.doc % 3 == rank).for_each(|hit| own.push(hit, &ids));
            own.into_ranking(&ids).into_iter().for_each(|hit| all.push(hit, &ids));
        }
        assert_eq!(all.into_ranking(&ids), sorted(hits(499), 50, &ids));
    }

    #[test]
    fn equal_scores_go_by_descending_id_and_minus_zero_ties_with_zero() {
        let ids = Named(["b", "c", "a"].map(str::to_owned).to_vec());
        let mut top = TopHits::new(2);
        for (doc, score) in [(2, 0.0), (0, -0.0), (1, 0.0)] {
            top.push(Hit::new(doc, score), &ids);
        }
        assert_eq!(top.into_ranking(&ids).iter().map(|hit| hit.doc).collect::<Vec<_>>(), [1, 0]);
    }
}
