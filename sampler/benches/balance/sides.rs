//! The two ways to divide a global batch among ranks and to cut a rank's part into sub-batches.

use tercet_sampler::{contiguous_share, deal, text_cost};

use crate::batches::Table;
use crate::distribution::Distribution;

/// The number of tokens of a sub-batch.
const SUB_BATCH_TOKENS: usize = 16_384;

/// Whose way is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Rows are dealt by cost, and sub-batches are packed by length.
    Tercet,
    /// FlagEmbedding 1.4.2 (`AbsEmbedderSameDatasetTrainDataset`, `AbsEmbedderCollator`), from its behaviour: a rank
    /// takes its slice of the shuffled batch; queries and passages are cut in that order into sub-batches of a fixed
    /// number of texts, each padded to its longest. The number is the largest that fits [`SUB_BATCH_TOKENS`] at the
    /// length group's upper end.
    Published,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tercet => "Tercet",
            Self::Published => "published",
        }
    }
}

/// Figures over all steps of all length groups.
pub struct Figures {
    /// The largest cost of the ranks' real tokens divided by the mean.
    pub median: f64,
    pub p99: f64,
    pub worst: f64,
    /// The median of the same ratio for the encoded tokens, padding included.
    pub padded_p50: f64,
    /// The share of padding among the encoded tokens.
    pub padding: f64,
}

/// Measures `steps` batches of every length group that the distribution has rows for.
pub fn measure(distribution: &Distribution, table: &Table, world_size: usize, side: Side, steps: u64) -> Figures {
    let (mut real_balance, mut padded_balance) = (Vec::new(), Vec::new());
    let (mut real, mut padded) = (0, 0);
    for (above, up_to, batch) in table.groups(world_size) {
        for step in 0..steps {
            let Some(rows) = distribution.draw(above, up_to, batch, step * 9973 + up_to as u64) else { continue };
            let ranks = ranks_of(&rows, world_size, side);
            let costs = ranks.iter().map(|rank| rank.iter().flat_map(|&i| rows[i]).map(|&len| text_cost(len)).sum());
            real_balance.push(max_over_mean(costs));
            let encoded: Vec<Vec<(usize, usize)>> =
                ranks.iter().map(|rank| encoded(&rows, rank, up_to, side)).collect();
            let cost = |texts: &Vec<(usize, usize)>| texts.iter().map(|&(n, len)| n as u64 * text_cost(len)).sum();
            padded_balance.push(max_over_mean(encoded.iter().map(cost)));
            padded += encoded.iter().flatten().map(|&(n, len)| n * len).sum::<usize>();
            real += rows.iter().flat_map(|row| row.iter()).sum::<usize>();
        }
    }
    real_balance.sort_by(f64::total_cmp);
    padded_balance.sort_by(f64::total_cmp);
    let at = |values: &[f64], share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Figures {
        median: at(&real_balance, 0.5),
        p99: at(&real_balance, 0.99),
        worst: at(&real_balance, 1.0),
        padded_p50: at(&padded_balance, 0.5),
        padding: 1.0 - real as f64 / padded as f64,
    }
}

/// The rows that each rank takes.
fn ranks_of(rows: &[&[usize]], world_size: usize, side: Side) -> Vec<Vec<usize>> {
    match side {
        Side::Tercet => {
            let costs: Vec<u64> = rows.iter().map(|row| row.iter().map(|&len| text_cost(len)).sum()).collect();
            deal(&costs, world_size).rows
        }
        // The rows were drawn in random order.
        Side::Published => {
            (0..world_size).map(|rank| contiguous_share(rows.len(), rank, world_size).collect()).collect()
        }
    }
}

/// What a rank encodes: (number of texts, tokens of each, padding included).
fn encoded(rows: &[&[usize]], rank: &[usize], up_to: usize, side: Side) -> Vec<(usize, usize)> {
    match side {
        Side::Tercet => {
            let lens: Vec<usize> = rank.iter().flat_map(|&i| rows[i].iter().copied()).collect();
            lens.into_iter().map(|len| (1, len)).collect()
        }
        Side::Published => {
            let queries: Vec<usize> = rank.iter().map(|&i| rows[i][0]).collect();
            let passages: Vec<usize> = rank.iter().flat_map(|&i| rows[i][1..].iter().copied()).collect();
            let texts = (SUB_BATCH_TOKENS / up_to).max(1);
            let padded = |part: &[usize]| (part.len(), part.iter().copied().max().unwrap_or(0));
            queries.chunks(texts).chain(passages.chunks(texts)).map(padded).collect()
        }
    }
}

fn max_over_mean(costs: impl Iterator<Item = u64>) -> f64 {
    let costs: Vec<u64> = costs.collect();
    let mean = costs.iter().sum::<u64>() as f64 / costs.len() as f64;
    costs.into_iter().max().unwrap_or(0) as f64 / mean
}
