//! From a step to positions of rows: which cell, and which rows of it in by-length order.
//!
//! Pure arithmetic on the cells' sizes. An epoch's batches are numbered cell after cell; one permutation orders them,
//! another orders each cell's rows, and both have the epoch in their key. The rows that do not fill a last batch are
//! left out of an epoch, and they are others in the next. Nothing here knows what a row holds.

use super::hash::{Purpose, hash};
use super::permute::Permutation;

/// The rows of one data set in one length group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The data set's index in the store.
    pub dataset: usize,
    /// The length group's index in the recipe.
    pub length_group: usize,
    /// Where its rows start in the data set's by-length order.
    pub first_position: u64,
    /// Rows.
    pub num_rows: u64,
    /// Rows that all ranks together take in one step; at least 1.
    pub global_batch: u64,
}

impl Cell {
    /// Whole batches in an epoch.
    pub fn num_steps(&self) -> u64 {
        self.num_rows / self.global_batch
    }
}

/// The order of all steps of all epochs.
#[derive(Debug, Clone)]
pub struct Schedule {
    seed: u64,
    cells: Vec<Cell>,
    /// For each cell, the epoch's batches up to and including its own.
    batches_up_to: Vec<u64>,
}

/// What a step takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledStep {
    /// Passes over the data before this one.
    pub epoch: u64,
    /// The cell that the rows come from.
    pub cell: Cell,
    /// Positions in the data set's by-length order, `cell.global_batch` of them, in the batch's order.
    pub positions: Vec<u64>,
}

impl Schedule {
    /// The schedule of `cells` under `seed`; `None` if no cell fills a batch.
    pub fn new(seed: u64, cells: Vec<Cell>) -> Option<Self> {
        let batches_up_to: Vec<u64> = cells
            .iter()
            .scan(0, |sum, cell| {
                *sum += cell.num_steps();
                Some(*sum)
            })
            .collect();
        batches_up_to.last().is_some_and(|&total| total > 0).then_some(Self { seed, cells, batches_up_to })
    }

    /// The cells, those that fill no batch included.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Steps in one pass over the data; at least 1.
    pub fn steps_per_epoch(&self) -> u64 {
        self.batches_up_to.last().copied().unwrap_or(0)
    }

    /// What step `step` takes; steps count from 0 and go on through the epochs. Time and memory: one batch's.
    pub fn step(&self, step: u64) -> ScheduledStep {
        let steps_per_epoch = self.steps_per_epoch();
        let epoch = step / steps_per_epoch;
        let batch_order = Permutation::new(steps_per_epoch, hash(&[self.seed, epoch, Purpose::BatchOrder as u64]));
        let batch = batch_order.apply(step % steps_per_epoch);

        let index = self.batches_up_to.partition_point(|&up_to| up_to <= batch);
        let cell = self.cells[index];
        let batch_in_cell = batch - (self.batches_up_to[index] - cell.num_steps());

        // The cell's own name, not its index: leaving another cell out does not reorder this one.
        let key = [self.seed, epoch, Purpose::RowOrder as u64, cell.dataset as u64, cell.length_group as u64];
        let row_order = Permutation::new(cell.num_rows, hash(&key));
        let first = batch_in_cell * cell.global_batch;
        let positions = (first..first + cell.global_batch).map(|i| cell.first_position + row_order.apply(i)).collect();
        ScheduledStep { epoch, cell, positions }
    }
}
