//! Whether all ranks have the same weights, bit for bit.
//!
//! Every rank updates a copy of its own with the same sum of gradients. Copies that begin differently, because hosts
//! read different files, or part on the way, because a card computes wrongly, never meet again, and no loss shows it.
//! So their checksums are compared after every load, before every checkpoint, and now and then in between.

use std::collections::BTreeMap;
use std::fmt::Display;

use tch::Tensor;
use tercet_cluster::{Collective, gather_ragged};
use tercet_configs::ExitCode;

use crate::tensors::checksum::checksum;

/// Steps between two comparisons where there is no checkpoint: some 10 ms of a GPU's time for half a billion weights.
pub const EVERY: u64 = 100;

/// Ranks with other weights than the rest.
#[derive(Debug, thiserror::Error)]
#[error(
    "the weights are not the same on all ranks, {when}: {who}. Give all hosts the same model files; if they have them, a \
     machine computes or remembers wrongly (`tercet doctor` measures all of them): leave it out, and go on with --resume \
     from the last checkpoint, before which all were alike"
)]
pub struct WeightsDiffer {
    /// At which point of the run.
    pub when: String,
    /// The ranks, with their hosts.
    pub who: String,
}

impl WeightsDiffer {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Machine
    }
}

/// Compares the ranks' `weights`, `[N]`. Every rank calls it.
///
/// # Errors
/// [`WeightsDiffer`], on all ranks; a collective that failed.
pub(crate) fn check(ranks: &dyn Collective, weights: &Tensor, when: impl Display) -> anyhow::Result<()> {
    let world_size = ranks.world_size();
    if world_size == 1 {
        return Ok(());
    }
    let mut checksums = vec![0i64; world_size];
    ranks.all_gather([checksum(weights)][..].into(), checksums.as_mut_slice().into(), &vec![1; world_size])?;
    let odd = odd_ones(&checksums);
    if odd.is_empty() {
        return Ok(());
    }
    let hosts = gather_ragged(ranks, ranks.host().as_bytes())?;
    let hosts: Vec<_> = hosts.iter().map(|host| String::from_utf8_lossy(host).into_owned()).collect();
    Err(WeightsDiffer { when: when.to_string(), who: who(&odd, &hosts) }.into())
}

/// The ranks whose checksum is not the most frequent one; all of them if several are equally frequent.
fn odd_ones(checksums: &[i64]) -> Vec<usize> {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    checksums.iter().for_each(|&sum| *counts.entry(sum).or_default() += 1);
    let most = counts.values().copied().max().unwrap_or(0);
    let mut frequent = counts.iter().filter(|(_, count)| **count == most).map(|(sum, _)| *sum);
    let usual = frequent.next().filter(|_| frequent.next().is_none());
    (0..checksums.len()).filter(|&rank| Some(checksums[rank]) != usual).collect()
}

fn who(odd: &[usize], hosts: &[String]) -> String {
    let names: Vec<String> = odd.iter().map(|&rank| format!("rank {rank} ({})", hosts[rank])).collect();
    let (names, rest) = (names.join(", "), hosts.len() - odd.len());
    match (odd.len(), rest) {
        (_, 0) => format!("{names} differ from each other, and most of them agree on none"),
        (1, _) => format!("{names} has others than the {rest} that agree"),
        _ => format!("{names} have others than the {rest} that agree"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_differ_from_most_are_named_with_their_hosts() {
        let hosts: Vec<String> = ["a", "a", "b", "b", "c"].map(str::to_owned).to_vec();
        for (checksums, expected) in [
            ([7, 7, -7, 7, 7], "rank 2 (b) has others than the 4 that agree"),
            ([1, 7, 2, 7, 7], "rank 0 (a), rank 2 (b) have others than the 3 that agree"),
            ([1, 2, 3, 7, 7], "rank 0 (a), rank 1 (a), rank 2 (b) have others than the 2 that agree"),
        ] {
            assert_eq!(who(&odd_ones(&checksums), &hosts), expected);
        }
        assert_eq!(
            who(&odd_ones(&[1, 2]), &hosts[1..3]),
            "rank 0 (a), rank 1 (b) differ from each other, and most of them agree on none"
        );
        assert_eq!(odd_ones(&[1, 2, 1, 2]), [0, 1, 2, 3]);
        assert!(odd_ones(&[5; 4]).is_empty());
    }
}
