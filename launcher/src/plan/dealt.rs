//! A dealt batch as numbers.

use super::work::RankLoad;

/// One batch as it would be dealt.
#[derive(Debug, Clone)]
pub struct DealtStep {
    /// Index of its cell.
    pub cell: usize,
    /// Which of the cell's batches it is, from 0.
    pub nth: u64,
    /// The approximate share of the run that is over by then, from 0 to 1.
    pub progress: f64,
    /// Passages per query.
    pub group_size: usize,
    /// Most loaded rank's estimated cost over the mean, as the sampler estimates it.
    pub imbalance: f64,
    /// Also contrasts each positive with all queries.
    pub two_way: bool,
    /// One per rank.
    pub ranks: Vec<RankLoad>,
}

impl DealtStep {
    /// Tokens of all ranks.
    pub fn tokens(&self) -> f64 {
        self.ranks.iter().map(|rank| rank.encoded.tokens).sum()
    }

    /// Passages of all ranks.
    pub fn num_passages(&self) -> f64 {
        self.ranks.iter().map(|rank| rank.num_passages).sum()
    }
}
