//! The number of times that words occur in the texts that a run learns from, which is where a fresh head that predicts
//! words begins.

use tercet_sampler::{Plan, PlanError};

/// The largest number of texts of a data set that are counted; they are evenly spread over all lengths.
const TEXTS: u64 = 1 << 16;
/// The largest number of a text's tokens.
const TOKENS: usize = 512;

/// The number of times that each token id below `vocabulary` occurs.
///
/// # Errors
/// The store cannot be read, or was altered.
pub fn counts(plan: &Plan, vocabulary: usize) -> Result<Vec<u64>, PlanError> {
    let store = plan.store();
    let mut counts = vec![0; vocabulary];
    for &dataset in plan.sources().iter().flat_map(|source| &source.datasets) {
        let texts = store.dataset(dataset).num_ordered();
        let counted = texts.min(TEXTS);
        for i in 0..counted {
            let (_, row) = store.read(dataset, i * texts / counted)?;
            for &id in row.query().iter().take(TOKENS) {
                if let Some(count) = counts.get_mut(id as usize) {
                    *count += 1;
                }
            }
        }
    }
    Ok(counts)
}
