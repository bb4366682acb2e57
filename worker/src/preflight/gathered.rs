//! What the ranks tell rank 0, and what it tells them.

use serde::{Deserialize, Serialize};
use tercet_cluster::{Collective, CollectiveError, broadcast_bytes, gather_ragged};
use tercet_protocol::says::doctor::RankFacts;

use super::gpus;

/// All ranks' facts, on rank 0. Every rank calls it.
pub fn gather(ranks: &dyn Collective, own: &RankFacts) -> Result<Option<Vec<RankFacts>>, CollectiveError> {
    let all = gather_ragged(ranks, &serde_json::to_vec(own).expect("plain data"))?;
    // If a rank of another build writes what this one cannot read, it counts as a rank without a program.
    let read = |(rank, bytes): (usize, &Vec<u8>)| {
        serde_json::from_slice(bytes).unwrap_or_else(|_| RankFacts { rank, ..RankFacts::default() })
    };
    Ok((ranks.rank() == 0).then(|| {
        let mut facts: Vec<RankFacts> = all.iter().enumerate().map(read).collect();
        gpus::keep_visible(&mut facts);
        facts
    }))
}

/// Returns rank 0's `value` on every rank. Every rank calls it.
pub fn from_rank_0<T: Serialize + for<'a> Deserialize<'a>>(
    ranks: &dyn Collective,
    value: &T,
) -> Result<T, CollectiveError> {
    let mut bytes = serde_json::to_vec(value).expect("plain data");
    broadcast_bytes(ranks, &mut bytes, 0)?;
    Ok(serde_json::from_slice(&bytes).expect("what rank 0 wrote"))
}
