//! How often words occur in the data sets that a run learns from, which is where a fresh head that predicts words
//! begins. Data sets weigh as their texts do; what a recipe makes of them while it trains, their weights and phases, is
//! left aside.

use tercet_sampler::{Store, StoreError};

/// The largest number of texts of a data set that are counted; they are evenly spread over all lengths.
const TEXTS: u64 = 1 << 16;
/// The largest number of a text's tokens.
const TOKENS: usize = 512;

/// The number of times that each token id below `vocabulary` occurs in `datasets`, of which [`TEXTS`] texts each stand
/// for all.
///
/// # Errors
/// The store cannot be read, or was altered.
pub fn counts(store: &Store, datasets: impl Iterator<Item = usize>, vocabulary: usize) -> Result<Vec<f64>, StoreError> {
    let mut counts = vec![0.0; vocabulary];
    for dataset in datasets {
        let texts = store.dataset(dataset).num_ordered();
        let counted = texts.min(TEXTS);
        let stands_for = texts as f64 / counted as f64;
        for i in 0..counted {
            let (_, row) = store.read(dataset, i * texts / counted)?;
            for &id in row.query().iter().take(TOKENS) {
                if let Some(count) = counts.get_mut(id as usize) {
                    *count += stands_for;
                }
            }
        }
    }
    Ok(counts)
}
