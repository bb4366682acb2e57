//! What one rank does in one step, as numbers: all that costs depend on.
//!
//! Legend: Q local queries, P all ranks' passages, L tokens of a text.

use tercet_sampler::{ShareLens, SubBatchLayout, SubBatchLimit, lay_out};

use super::predicted::Predicted;

/// A sub-batch, or several together, as the encoder sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Encoded {
    /// Texts.
    pub num_texts: f64,
    /// Their tokens.
    pub tokens: f64,
    /// Σ L² over the texts: what attention costs.
    pub squares: f64,
    /// Tokens of the longest text.
    pub longest: f64,
    /// What pre-training has to predict of them.
    pub predicted: Predicted,
}

impl Encoded {
    fn of(layout: &SubBatchLayout, lens: &[usize], predicted: impl Fn(usize) -> Predicted) -> Self {
        layout.texts.iter().map(|&text| lens[text]).fold(Self::default(), |sum, len| {
            let tokens = len as f64;
            let (squares, predicted) = (tokens * tokens, predicted(len));
            sum.plus(Self { num_texts: 1.0, tokens, squares, longest: tokens, predicted })
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            num_texts: self.num_texts + other.num_texts,
            tokens: self.tokens + other.tokens,
            squares: self.squares + other.squares,
            longest: self.longest.max(other.longest),
            predicted: self.predicted + other.predicted,
        }
    }

    /// These sub-batches without those of `some`, which are among them.
    pub fn less(&self, some: &Self) -> Self {
        let rest = self.plus(Self { longest: 0.0, ..some.share(-1.0) });
        if rest.num_texts > 0.0 { rest } else { Self::default() }
    }

    /// A part of them, whose texts are as long.
    pub fn share(&self, part: f64) -> Self {
        Self {
            num_texts: part * self.num_texts,
            tokens: part * self.tokens,
            squares: part * self.squares,
            longest: self.longest,
            predicted: self.predicted * part,
        }
    }
}

/// A rank's share of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RankLoad {
    /// Q.
    pub num_queries: f64,
    /// This rank's passages.
    pub num_passages: f64,
    /// Positives of its rows, chosen or not.
    pub num_positives: f64,
    /// All its texts.
    pub encoded: Encoded,
    /// The number of its sub-batches.
    pub num_sub_batches: f64,
    /// Those whose graphs the first pass keeps.
    pub kept: Encoded,
    /// Their number.
    pub num_kept_sub_batches: f64,
    /// The largest sub-batch that is encoded twice.
    pub largest_recomputed: Encoded,
    /// The largest sub-batch of all.
    pub largest: Encoded,
    /// The last one, of the shortest texts: while it is walked back the gradient's sum begins.
    pub last: Encoded,
    /// Multi-vector vectors of its queries.
    pub query_vectors: f64,
    /// Multi-vector vectors of its passages.
    pub passage_vectors: f64,
    /// Distinct (passage, token) pairs of the lexical head; an estimate where texts were only sampled.
    pub passage_pairs: f64,
    /// Those whose token one of its queries has, likewise.
    pub shared_pairs: f64,
    /// Distinct (query, token) pairs, likewise.
    pub query_pairs: f64,
    /// Distinct tokens of all its queries together, likewise.
    pub query_vocabulary: f64,
}

impl RankLoad {
    /// The load of a share, cut into sub-batches as a worker does it; `predicted` is what pre-training has to predict
    /// of a text with that number of tokens.
    pub fn new(
        share: &ShareLens,
        limit: SubBatchLimit,
        kept_graph_tokens: usize,
        predicted: impl Fn(usize) -> Predicted,
    ) -> Self {
        let ShareLens { queries, passages, num_positives } = share;
        let lens: Vec<usize> = queries.iter().chain(passages).copied().collect();
        let sum = |lens: &[usize]| lens.iter().sum::<usize>() as f64;
        let mut load = Self {
            num_queries: queries.len() as f64,
            num_passages: passages.len() as f64,
            num_positives: *num_positives as f64,
            query_vectors: sum(queries) - queries.len() as f64,
            passage_vectors: sum(passages) - passages.len() as f64,
            ..Self::default()
        };
        let larger = |a: Encoded, b: Encoded| if b.tokens > a.tokens { b } else { a };
        let mut budget = kept_graph_tokens;
        for layout in lay_out(&lens, limit) {
            let own = Encoded::of(&layout, &lens, &predicted);
            load.encoded = load.encoded.plus(own);
            load.num_sub_batches += 1.0;
            load.largest = larger(load.largest, own);
            load.last = own;
            match budget.checked_sub(layout.num_tokens) {
                Some(left) => {
                    budget = left;
                    load.kept = load.kept.plus(own);
                    load.num_kept_sub_batches += 1.0;
                }
                None => load.largest_recomputed = larger(load.largest_recomputed, own),
            }
        }
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: usize) -> Predicted {
        Predicted::default()
    }

    #[test]
    fn kept_and_recomputed_sub_batches_are_told_apart() {
        // Sub-batches of (5, 5), (5, 2): the first 10 tokens are kept.
        let share = ShareLens { queries: vec![2, 5], passages: vec![5, 5], num_positives: 3 };
        let load = RankLoad::new(&share, SubBatchLimit { tokens: 10, texts: 0 }, 10, nothing);
        assert_eq!((load.num_queries, load.num_passages), (2.0, 2.0));
        assert_eq!((load.query_vectors, load.passage_vectors), (5.0, 8.0));
        let encoded =
            |num_texts, tokens, squares| Encoded { num_texts, tokens, squares, longest: 5.0, ..Encoded::default() };
        assert_eq!(load.encoded, encoded(4.0, 17.0, 79.0));
        assert_eq!(load.kept, encoded(2.0, 10.0, 50.0));
        assert_eq!(load.largest_recomputed, encoded(2.0, 7.0, 29.0));
        assert_eq!((load.largest, load.last), (load.kept, load.largest_recomputed));
        assert_eq!((load.num_sub_batches, load.num_kept_sub_batches), (2.0, 1.0));
        assert_eq!(load.encoded.less(&load.kept), load.largest_recomputed);
        assert_eq!(load.encoded.less(&load.encoded), Encoded::default());
        assert_eq!((load.encoded.share(0.5).tokens, load.encoded.share(0.5).longest), (8.5, 5.0));
    }
}
