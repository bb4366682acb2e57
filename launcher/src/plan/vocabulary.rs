//! Distinct tokens of texts, which the lexical head's costs depend on and lengths do not tell.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use tercet_sampler::{Plan, PlanError, Share, TextInput, deal_global, read_dealt};

use super::dealt::DealtStep;
use super::work::RankLoad;

/// The largest number of passages of a step that is counted exactly. For larger ones one rank's texts of one step stand
/// for the cell.
const EXACT_PASSAGES: f64 = 1024.0;

/// Distinct tokens of a text of n tokens are about `SCALE`·n^`POWER` (Heaps' law), where a store has lengths alone.
const SCALE: f64 = 2.2;
const POWER: f64 = 0.75;

/// The share of the passages' distinct tokens that a rank's queries have as well, likewise.
const SHARED: f64 = 0.3;

/// Distinct tokens of one rank's texts.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Distinct {
    /// (query, token) pairs.
    query_pairs: f64,
    /// Tokens of all queries together.
    query_vocabulary: f64,
    /// (passage, token) pairs.
    passage_pairs: f64,
    /// Those whose token a query has.
    shared_pairs: f64,
}

/// Whether a store knows how long its texts are, and has none of them.
pub fn has_lengths_alone(plan: &Plan) -> bool {
    let mut shards = plan.store().manifest().datasets.iter().flat_map(|dataset| &dataset.shards);
    shards.all(|shard| shard.file.bytes == 0)
}

/// Fills in the distinct tokens of all `steps`.
///
/// # Errors
/// If the store cannot be read.
pub fn add_distinct(plan: &Plan, steps: &mut [DealtStep]) -> Result<(), PlanError> {
    if has_lengths_alone(plan) {
        steps.iter_mut().flat_map(|step| &mut step.ranks).for_each(estimate);
        return Ok(());
    }
    let exact = |step: &DealtStep| step.num_passages() <= EXACT_PASSAGES;
    steps.par_iter_mut().filter(|step| exact(step)).try_for_each(|step| {
        let world_size = step.ranks.len();
        for (rank, load) in step.ranks.iter_mut().enumerate() {
            let found = distinct(&read(plan, step.cell, step.nth, world_size, rank)?);
            load.query_pairs = found.query_pairs;
            load.query_vocabulary = found.query_vocabulary;
            load.passage_pairs = found.passage_pairs;
            load.shared_pairs = found.shared_pairs;
        }
        Ok::<(), PlanError>(())
    })?;

    let mut first_of_cell: HashMap<usize, [f64; 4]> = HashMap::new();
    for step in steps.iter_mut().filter(|step| !exact(step)) {
        let [queries, vocabulary, passages, shared] = match first_of_cell.get(&step.cell) {
            Some(&shares) => shares,
            None => {
                let found = distinct(&read(plan, step.cell, step.nth, step.ranks.len(), 0)?);
                let load = &step.ranks[0];
                let of = |found: f64, vectors: f64| found / vectors.max(1.0);
                let shares = [
                    of(found.query_pairs, load.query_vectors),
                    of(found.query_vocabulary, load.query_vectors),
                    of(found.passage_pairs, load.passage_vectors),
                    of(found.shared_pairs, load.passage_vectors),
                ];
                *first_of_cell.entry(step.cell).or_insert(shares)
            }
        };
        for load in &mut step.ranks {
            load.query_pairs = queries * load.query_vectors;
            load.query_vocabulary = vocabulary * load.query_vectors;
            load.passage_pairs = passages * load.passage_vectors;
            load.shared_pairs = shared * load.passage_vectors;
        }
    }
    Ok(())
}

/// By lengths alone.
fn estimate(load: &mut RankLoad) {
    let distinct = |tokens: f64| (SCALE * tokens.powf(POWER)).min(tokens);
    let pairs = |texts: f64, vectors: f64| texts * distinct(vectors / texts.max(1.0));
    load.query_pairs = pairs(load.num_queries, load.query_vectors);
    load.query_vocabulary = distinct(load.query_vectors);
    load.passage_pairs = pairs(load.num_passages, load.passage_vectors);
    load.shared_pairs = SHARED * load.passage_pairs;
}

fn read(plan: &Plan, cell: usize, nth: u64, world_size: usize, rank: usize) -> Result<Share, PlanError> {
    let dealt = deal_global(plan, plan.batch_of_cell(cell, nth), world_size)?;
    // Which step of the run it is changes nothing in it.
    Ok(read_dealt(plan, 0, dealt, rank)?.share)
}

fn distinct(share: &Share) -> Distinct {
    let pairs = |texts: &[TextInput]| texts.iter().map(|text| text.lexical_ids().len() as f64).sum();
    let vocabulary: HashSet<&i64> = share.queries().iter().flat_map(TextInput::lexical_ids).collect();
    let of_passages = share.passages().iter().flat_map(TextInput::lexical_ids);
    Distinct {
        query_pairs: pairs(share.queries()),
        query_vocabulary: vocabulary.len() as f64,
        passage_pairs: pairs(share.passages()),
        shared_pairs: of_passages.filter(|id| vocabulary.contains(id)).count() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_tokens_of_lengths_alone_grow_more_slowly_than_tokens() {
        let mut load = RankLoad {
            num_queries: 2.0,
            num_passages: 3.0,
            query_vectors: 32.0,
            passage_vectors: 3.0 * 256.0,
            ..RankLoad::default()
        };
        estimate(&mut load);
        // 16^0.75 is 8, 256^0.75 is 64; a text has no more distinct tokens than tokens.
        assert_eq!((load.query_pairs, load.passage_pairs), (32.0, 3.0 * 2.2 * 64.0));
        assert_eq!(load.shared_pairs, 0.3 * load.passage_pairs);
        assert!(load.query_vocabulary < 32.0);
    }
}
