//! What `mine` still searches with.

use tch::{Device, Tensor};
use tercet_cluster::Collective;

use super::hits::{Hit, merge};
use crate::retrieval::vectors::{floats, gather};

/// Scores held at a time, [Q, D].
const SCORES_AT_A_TIME: usize = 1 << 24;

/// Calls `visit` with each query's inner products with all of `docs` [D, d], in the order of `queries`.
pub fn for_each_dense_row(queries: &Tensor, docs: &Tensor, device: Device, mut visit: impl FnMut(usize, &[f32])) {
    let (num_queries, num_docs) = (queries.size()[0] as usize, docs.size()[0] as usize);
    let docs = docs.to_device(device).tr(); // [d, D]
    let block = (SCORES_AT_A_TIME / num_docs.max(1)).max(1);
    for start in (0..num_queries).step_by(block) {
        let count = block.min(num_queries - start);
        let scores = queries.narrow(0, start as i64, count as i64).to_device(device).matmul(&docs); // [Q, D]
        let scores = floats(&scores);
        for query in 0..count {
            visit(start + query, &scores[query * num_docs..(query + 1) * num_docs]);
        }
    }
}

/// For each query the best `depth` of all ranks' lists, on every rank. Every rank calls it with the same number of
/// lists.
///
/// # Errors
/// As the collectives'.
pub fn merge_ranks(ranks: &dyn Collective, lists: Vec<Vec<Hit>>, depth: usize) -> anyhow::Result<Vec<Vec<Hit>>> {
    if ranks.world_size() == 1 {
        return Ok(lists.into_iter().map(|list| merge([list], depth)).collect());
    }
    let lens = gather(ranks, &lists.iter().map(|list| list.len() as i64).collect::<Vec<_>>())?;
    let docs = gather(ranks, &lists.iter().flatten().map(|hit| i64::from(hit.doc)).collect::<Vec<_>>())?;
    let scores = gather(ranks, &lists.iter().flatten().map(|hit| hit.score).collect::<Vec<_>>())?;
    // Each rank's hits, of which the queries in turn take theirs.
    let mut hits: Vec<_> = docs
        .into_iter()
        .zip(scores)
        .map(|(docs, scores)| docs.into_iter().zip(scores).map(|(doc, score)| Hit::new(doc as u32, score)))
        .collect();
    let merged = (0..lists.len()).map(|query| {
        let parts: Vec<Vec<Hit>> =
            hits.iter_mut().zip(&lens).map(|(hits, lens)| hits.take(lens[query] as usize).collect()).collect();
        merge(parts, depth)
    });
    Ok(merged.collect())
}
