//! Records each rank's share of every step in `ranks.jsonl`, to show that the plan is kept, or which rank lags.

use std::fs::File;

use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::Recipe;
use tercet_protocol::says::RankShares;
use tercet_sampler::RowId;

use super::history::History;
use crate::machine::memory::resident_bytes;

/// The file, on rank 0.
pub struct Shares(Option<History>);

impl Shares {
    /// Opens the file; None unless the recipe asks for it. A resumed run continues in the same file, after its last
    /// whole line.
    ///
    /// # Errors
    /// As [`History::open`].
    pub fn start(recipe: &Recipe, ranks: &dyn Collective) -> anyhow::Result<Option<Self>> {
        if !recipe.log.per_rank {
            return Ok(None);
        }
        let open = || History::open(recipe.run_dir.join("ranks.jsonl"), u64::MAX, 0).map(|(file, _)| file);
        Ok(Some(Self(if ranks.rank() == 0 { Some(open()?) } else { None })))
    }

    /// As [`History::handle`]; none on the ranks that write nothing.
    ///
    /// # Errors
    /// As there.
    pub fn history(&self) -> anyhow::Result<Option<File>> {
        self.0.as_ref().map(History::handle).transpose()
    }

    /// Writes the ranks' shares of step `step`. This rank's share is `rows`, with `num_tokens` real tokens. Every rank
    /// calls it.
    ///
    /// # Errors
    /// The file cannot be written, or a collective failed.
    pub fn step(&mut self, ranks: &dyn Collective, step: u64, rows: &[RowId], num_tokens: usize) -> anyhow::Result<()> {
        let [rss_bytes, peak_rss_bytes] = resident_bytes();
        let own = [rows.len() as i64, num_tokens as i64, checksum(rows), rss_bytes as i64, peak_rss_bytes as i64];
        let all = gather(ranks, &own)?;
        let Some(file) = &mut self.0 else { return Ok(()) };
        let column = |i: usize| all.iter().skip(i).step_by(own.len()).copied().collect::<Vec<i64>>();
        let checksums: Vec<String> = column(2).into_iter().map(|sum| format!("{sum:016x}")).collect();
        file.push(&RankShares {
            step,
            rows: column(0),
            tokens: column(1),
            rows_checksum: checksums,
            rss_bytes: column(3),
            peak_rss_bytes: column(4),
        })
    }
}

fn gather(ranks: &dyn Collective, own: &[i64]) -> Result<Vec<i64>, CollectiveError> {
    let mut all = vec![0i64; own.len() * ranks.world_size()];
    ranks.all_gather(own.into(), all.as_mut_slice().into(), &vec![own.len(); ranks.world_size()])?;
    Ok(all)
}

/// The first eight bytes of the BLAKE3 of the data sets' and rows' numbers in their order, each as eight bytes, all
/// little-endian.
fn checksum(rows: &[RowId]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for row in rows {
        hasher.update(&(row.dataset as u64).to_le_bytes()).update(&row.row.to_le_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    i64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rows_or_another_order_have_another_checksum() {
        let row = |dataset, row| RowId { dataset, row };
        let sums =
            [&[row(0, 1), row(0, 2)][..], &[row(0, 2), row(0, 1)], &[row(1, 1), row(0, 2)], &[row(0, 1)]].map(checksum);
        let distinct: std::collections::BTreeSet<i64> = sums.into_iter().collect();
        assert_eq!(distinct.len(), sums.len());
    }
}
