//! Ranked lists: the best documents of a query, in trec_eval's order whatever the order they were found in.

/// A document and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The document's number: its place among all ids in descending order.
    pub doc: u32,
    /// Higher is better. 32 bits, because trec_eval reads a run file's scores into 32 bits and ties follow from it.
    pub score: f32,
}

impl Hit {
    /// A hit whose score is not minus zero, which would not tie with zero.
    pub fn new(doc: u32, score: f32) -> Self {
        Self { doc, score: score + 0.0 }
    }

    /// trec_eval's order: by descending score, then by descending id.
    pub fn rank_order(&self, other: &Self) -> std::cmp::Ordering {
        other.score.total_cmp(&self.score).then(self.doc.cmp(&other.doc))
    }
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

    /// Offers a hit.
    pub fn push(&mut self, hit: Hit) {
        if hit.score < self.floor {
            return;
        }
        self.hits.push(hit);
        // Cutting back only at twice the depth makes a push cost O(1) on average.
        if self.hits.len() >= 2 * self.depth.max(1) {
            self.cut();
        }
    }

    /// The best hits, best first.
    pub fn into_ranking(mut self) -> Vec<Hit> {
        self.hits.sort_unstable_by(Hit::rank_order);
        self.hits.truncate(self.depth);
        self.hits
    }

    fn cut(&mut self) {
        if self.depth < self.hits.len() && self.depth > 0 {
            let (_, worst, _) = self.hits.select_nth_unstable_by(self.depth - 1, Hit::rank_order);
            self.floor = worst.score;
        }
        self.hits.truncate(self.depth);
    }
}

/// The best `depth` of several lists.
pub fn merge(lists: impl IntoIterator<Item = Vec<Hit>>, depth: usize) -> Vec<Hit> {
    let mut top = TopHits::new(depth);
    lists.into_iter().flatten().for_each(|hit| top.push(hit));
    top.into_ranking()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores with many ties, from a small multiplicative generator.
    fn hits(count: u32) -> Vec<Hit> {
        (0..count).map(|doc| Hit::new(doc, (u64::from(doc) * 48271 % 2147 % 37) as f32 / 8.0)).collect()
    }

    fn sorted(mut hits: Vec<Hit>, depth: usize) -> Vec<Hit> {
        hits.sort_by(Hit::rank_order);
        hits.truncate(depth);
        hits
    }

    #[test]
    fn the_best_are_those_of_a_full_sort() {
        for depth in [1, 7, 100, 499, 500, 2000] {
            let mut top = TopHits::new(depth);
            hits(500).into_iter().rev().for_each(|hit| top.push(hit));
            assert_eq!(top.into_ranking(), sorted(hits(500), depth), "depth {depth}");
        }
    }

    #[test]
    fn merging_shares_gives_the_whole() {
        let shares = (0..3).map(|rank| {
            let mut top = TopHits::new(50);
            hits(500).into_iter().filter(|hit| hit.doc % 3 == rank).for_each(|hit| top.push(hit));
            top.into_ranking()
        });
        assert_eq!(merge(shares, 50), sorted(hits(500), 50));
    }

    #[test]
    fn minus_zero_ties_with_zero() {
        let ranking = merge([vec![Hit::new(1, 0.0), Hit::new(0, -0.0)]], 2);
        assert_eq!(ranking.iter().map(|hit| hit.doc).collect::<Vec<_>>(), [0, 1]);
    }
}
