//! Which cells a store has under a recipe, and what falls out of it.

use tercet_configs::LengthGroup;

use super::schedule::Cell;
use crate::Store;

/// The cells that fill batches, and what to tell the user about all other rows.
pub(super) struct Survey {
    /// Cells of at least one whole batch.
    pub(super) cells: Vec<Cell>,
    /// Cells with rows, but too few for a batch: name, numbers.
    pub(super) too_small: Vec<String>,
    /// Data sets with rows beyond the last length group: name, numbers.
    pub(super) too_long: Vec<String>,
}

/// Cuts each data set's by-length order at the length groups' ends.
pub(super) fn survey(store: &Store, length_groups: &[LengthGroup]) -> Survey {
    let mut survey = Survey { cells: Vec::new(), too_small: Vec::new(), too_long: Vec::new() };
    for dataset in 0..store.num_datasets() {
        let meta = store.dataset(dataset);
        let mut first_position = 0;
        let mut shorter = 0;
        for (length_group, group) in length_groups.iter().enumerate() {
            let end = store.num_rows_up_to(dataset, group.max_len);
            let global_batch = group.global_batch as u64;
            let cell = Cell { dataset, length_group, first_position, num_rows: end - first_position, global_batch };
            if cell.num_steps() > 0 {
                survey.cells.push(cell);
            } else if cell.num_rows > 0 {
                survey.too_small.push(format!(
                    "data set `{}`, {}-{} tokens: {} rows for a global batch of {global_batch}",
                    meta.name,
                    shorter + 1,
                    group.max_len,
                    cell.num_rows,
                ));
            }
            first_position = end;
            shorter = group.max_len;
        }
        if first_position < meta.num_rows {
            survey.too_long.push(format!(
                "data set `{}`: {} of {} rows have more than {shorter} tokens",
                meta.name,
                meta.num_rows - first_position,
                meta.num_rows,
            ));
        }
    }
    survey
}
