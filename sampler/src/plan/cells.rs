//! Which cells a run has, and which rows they leave out.

use tercet_configs::{FewNegatives, LengthGroup};

use super::PlanError;
use super::hash::{hash, hash_name};
use super::schedule::CellSize;
use super::source::Source;
use crate::Store;

/// The rows of one source in one of its length groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The source's index in the plan.
    pub source: usize,
    /// The length group's index in the source's table.
    pub length_group: usize,
    /// The range of tokens of its rows' longest texts: above the first, at most the second.
    pub lens: (usize, usize),
    /// The number of rows, and the number taken at a time.
    pub size: CellSize,
    /// Where the rows are.
    stretches: Vec<Stretch>,
}

/// Consecutive rows in a data set's order by length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    dataset: usize,
    first_position: u64,
    /// The number of the cell's rows up to and including this stretch.
    rows_up_to: u64,
}

impl Cell {
    /// The data set of the cell's `row`-th row, and its position in that data set's order by length.
    pub fn locate(&self, row: u64) -> (usize, u64) {
        let index = self.stretches.partition_point(|stretch| stretch.rows_up_to <= row);
        let before = index.checked_sub(1).map_or(0, |i| self.stretches[i].rows_up_to);
        let Stretch { dataset, first_position, .. } = self.stretches[index];
        (dataset, first_position + row - before)
    }

    fn add(&mut self, dataset: usize, positions: std::ops::Range<u64>) {
        if !positions.is_empty() {
            self.size.num_rows += positions.end - positions.start;
            let rows_up_to = self.size.num_rows;
            self.stretches.push(Stretch { dataset, first_position: positions.start, rows_up_to });
        }
    }
}

/// The cells that fill batches, and what the user is told about all other rows.
pub(super) struct Survey {
    /// Cells of at least one whole batch.
    pub(super) cells: Vec<Cell>,
    /// Cells with too few rows for a batch: name, numbers.
    pub(super) too_small: Vec<String>,
    /// Sources with rows beyond the last length group: name, numbers.
    pub(super) too_long: Vec<String>,
    /// Sources with rows that have too few negatives: name, numbers.
    pub(super) rejected: Vec<String>,
}

/// Cuts each source's orders by length at its length groups' ends.
pub(super) fn survey(store: &Store, sources: &[Source]) -> Result<Survey, PlanError> {
    let mut survey = Survey { cells: Vec::new(), too_small: Vec::new(), too_long: Vec::new(), rejected: Vec::new() };
    for (index, source) in sources.iter().enumerate() {
        let mut num_rejected = 0;
        let mut shorter = 0;
        for (length_group, &LengthGroup { max_len, global_batch }) in source.policy.length_groups.iter().enumerate() {
            // The key depends on what the cell is, not on its place in a list.
            let key = hash(&[hash_name(&source.name), max_len as u64]);
            let size = CellSize { key, num_rows: 0, global_batch: global_batch as u64 };
            let lens = (shorter, max_len);
            let mut cell = Cell { source: index, length_group, lens, size, stretches: Vec::new() };
            for &dataset in &source.datasets {
                let range = store.num_rows_up_to(dataset, shorter)..store.num_rows_up_to(dataset, max_len);
                num_rejected += add_usable(&mut cell, store, dataset, range, source.policy.min_negatives())?;
            }
            survey.sort_in(cell, source);
            shorter = max_len;
        }
        let all: u64 = source.datasets.iter().map(|&dataset| store.dataset(dataset).num_ordered()).sum();
        let long: u64 = all - source.datasets.iter().map(|&set| store.num_rows_up_to(set, shorter)).sum::<u64>();
        if long > 0 {
            survey.too_long.push(format!("{source}: {long} of {all} rows have more than {shorter} tokens"));
        }
        survey.count_rejected(source, num_rejected, all)?;
    }
    Ok(survey)
}

impl Survey {
    fn sort_in(&mut self, cell: Cell, source: &Source) {
        let CellSize { num_rows, global_batch, .. } = cell.size;
        if cell.size.batches_per_pass() > 0 {
            self.cells.push(cell);
        } else if num_rows > 0 {
            let (above, up_to) = cell.lens;
            self.too_small.push(format!(
                "{source}, {}-{up_to} tokens: {num_rows} rows for a global batch of {global_batch}",
                above + 1
            ));
        }
    }

    /// Rejected rows are noted. Rows with too few negatives are an error unless the recipe rejects them.
    fn count_rejected(&mut self, source: &Source, num_rejected: u64, all: u64) -> Result<(), PlanError> {
        let min_negatives = source.policy.min_negatives();
        match num_rejected {
            0 => {}
            n if source.policy.few_negatives == FewNegatives::Reject => {
                self.rejected.push(format!("{source}: {n} of {all} rows have fewer than {min_negatives} negatives"));
            }
            rows => return Err(PlanError::NoNegatives { dataset: source.name.clone(), rows, all }),
        }
        Ok(())
    }
}

/// Adds the rows of `range` that have `min_negatives`, and returns the number of the others.
fn add_usable(
    cell: &mut Cell,
    store: &Store,
    dataset: usize,
    range: std::ops::Range<u64>,
    min_negatives: usize,
) -> Result<u64, PlanError> {
    if min_negatives == 0 {
        cell.add(dataset, range);
        return Ok(0);
    }
    let mut num_rejected = 0;
    // Rows of one length are ordered by their number of negatives, so each length has few stretches.
    let mut usable = range.start..range.start;
    let mut position = range.start;
    while position < range.end {
        let (shape, end) = store.shapes_from(dataset, position)?;
        let end = end.min(range.end);
        if shape.neg.len() >= min_negatives {
            usable.end = end;
        } else {
            cell.add(dataset, usable);
            usable = end..end;
            num_rejected += end - position;
        }
        position = end;
    }
    cell.add(dataset, usable);
    Ok(num_rejected)
}
