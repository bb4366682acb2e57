//! The plan's cells as the report lists them.

use tercet_configs::LengthGroup;
use tercet_sampler::{CellSize, Plan, Store};

use super::report::CellReport;

/// The cells that the plan's batches come from, without figures of a batch; `batches` are those that the run takes.
pub fn planned(plan: &Plan, batches: &[u64]) -> Vec<CellReport> {
    let cells = plan.cells().iter().zip(batches);
    cells
        .map(|(cell, &steps)| {
            let CellSize { num_rows, global_batch, .. } = cell.size;
            CellReport {
                dataset: plan.source(cell).name.clone(),
                above_tokens: cell.lens.0,
                up_to_tokens: cell.lens.1,
                rows: num_rows,
                global_batch,
                batches_per_pass: cell.size.batches_per_pass(),
                steps,
                passes: (steps * global_batch) as f64 / num_rows.max(1) as f64,
                dealt_batches: 0,
                batch: None,
            }
        })
        .collect()
}

/// What a store holds by the recipe's length groups, where there is no plan.
pub fn stored(store: &Store, length_groups: &[LengthGroup]) -> Vec<CellReport> {
    let mut cells = Vec::new();
    for dataset in 0..store.num_datasets() {
        let mut before = 0;
        for (i, group) in length_groups.iter().enumerate() {
            let end = store.num_rows_up_to(dataset, group.max_len);
            let rows = end - before;
            before = end;
            if rows == 0 {
                continue;
            }
            let global_batch = group.global_batch as u64;
            cells.push(CellReport {
                dataset: store.dataset(dataset).name.clone(),
                above_tokens: i.checked_sub(1).map_or(0, |before| length_groups[before].max_len),
                up_to_tokens: group.max_len,
                rows,
                global_batch,
                batches_per_pass: rows / global_batch.max(1),
                steps: 0,
                passes: 0.0,
                dealt_batches: 0,
                batch: None,
            });
        }
    }
    cells
}
