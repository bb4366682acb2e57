//! The ranks' lists made one.

use tercet_cluster::gather_ragged;
use tercet_retrieval::{Hit, TopHits};

use super::engine::Search;

/// Bytes of lists that all ranks send each other at a time.
const BYTES_AT_A_TIME: usize = 64 << 20;
/// Bytes of a hit.
const HIT: usize = 8;

/// For each query the best `depth` of all ranks' lists, on every rank. Every rank calls it with the same number of
/// lists, of at most `depth` hits.
pub(super) fn merged(search: &Search, lists: Vec<Vec<Hit>>, depth: usize) -> anyhow::Result<Vec<Vec<Hit>>> {
    let ranks = search.ranks;
    if ranks.world_size() == 1 {
        return Ok(lists);
    }
    let at_a_time = (BYTES_AT_A_TIME / (HIT * depth.max(1) * ranks.world_size())).max(1);
    let mut all = Vec::with_capacity(lists.len());
    for lists in lists.chunks(at_a_time) {
        let mut own = Vec::new();
        for list in lists {
            own.extend((list.len() as u64).to_le_bytes());
            list.iter().for_each(|hit| {
                own.extend(hit.doc.to_le_bytes());
                own.extend(hit.score.to_le_bytes());
            });
        }
        let gathered = gather_ragged(ranks, &own)?;
        let mut parts: Vec<_> = gathered.iter().map(|bytes| bytes.as_chunks::<HIT>().0.iter()).collect();
        for _ in lists {
            let mut top = TopHits::new(depth);
            for part in &mut parts {
                let len = part.next().map_or(0, |len| u64::from_le_bytes(*len));
                part.take(len as usize).for_each(|&[a, b, c, d, e, f, g, h]| {
                    let hit = Hit::new(u32::from_le_bytes([a, b, c, d]), f32::from_le_bytes([e, f, g, h]));
                    top.push(hit, search.index);
                });
            }
            all.push(top.into_ranking(search.index));
        }
    }
    Ok(all)
}
