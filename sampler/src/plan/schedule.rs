//! Finds the rows of a step: which cell, and which of its rows.
//!
//! This is pure arithmetic on sizes and knows nothing of a row's content. A *round* is the smallest unit of a mixture:
//! every cell gives its number of batches once, spread evenly ([`super::interleave`]). A cell's batches are numbered
//! through all rounds, and one *pass* over its rows after the other fills them. So every row is taken once before any
//! is taken twice, whatever the weights are or become. The rows that do not fill a pass's last batch are left out of
//! that pass, and the next pass leaves out others. Without weights a round has every cell's whole batches once: it is
//! an epoch.

use super::hash::{Purpose, hash};
use super::interleave::Round;
use super::permute::Permutation;

/// The rows that share batches: their number, and the number taken at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellSize {
    /// Names the cell in hashes, so that adding or removing another cell does not reorder this one.
    pub key: u64,
    /// The number of rows.
    pub num_rows: u64,
    /// The number of rows that all ranks together take in one step; at least 1.
    pub global_batch: u64,
}

impl CellSize {
    /// The number of whole batches in a pass.
    pub fn batches_per_pass(&self) -> u64 {
        self.num_rows / self.global_batch
    }
}

/// A part of the run with one mixture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its first step; it lasts until that of the next phase.
    pub first_step: u64,
    /// The number of batches of each cell in a round.
    pub batches_per_round: Vec<u64>,
}

impl Phase {
    /// The number of steps in a round.
    pub fn steps_per_round(&self) -> u64 {
        self.batches_per_round.iter().sum()
    }
}

/// The order of all steps.
#[derive(Debug, Clone)]
pub struct Schedule {
    seed: u64,
    cells: Vec<CellSize>,
    phases: Vec<Phase>,
    /// For each phase, the number of batches that each cell gave before it.
    given_before: Vec<Vec<u64>>,
}

/// What a step takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledStep {
    /// The cell's index.
    pub cell: usize,
    /// The number of passes over the cell's rows before this one.
    pub pass: u64,
    /// The rows of the batch in its order, as indices into the cell.
    pub rows: Vec<u64>,
}

impl Schedule {
    /// The schedule of `cells` under `seed`. Phases must ascend, the first must begin at step 0, and each must have
    /// steps in its round.
    ///
    /// # Panics
    /// If the phases do not meet this.
    pub fn new(seed: u64, cells: Vec<CellSize>, phases: Vec<Phase>) -> Self {
        assert_eq!(phases.first().map(|phase| phase.first_step), Some(0), "the first phase begins with the run");
        assert!(phases.is_sorted_by(|a, b| a.first_step < b.first_step), "phases ascend");
        assert!(phases.iter().all(|phase| phase.steps_per_round() > 0), "a phase has something to train on");
        let mut schedule = Self { seed, given_before: vec![vec![0; cells.len()]], cells, phases };
        for phase in 1..schedule.phases.len() {
            let given = schedule.given_by(schedule.phases[phase].first_step);
            schedule.given_before.push(given);
        }
        schedule
    }

    /// The cells.
    pub fn cells(&self) -> &[CellSize] {
        &self.cells
    }

    /// The phases.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// The number of batches that each cell gives before step `step`. Its time does not depend on the number of steps.
    pub fn given_by(&self, step: u64) -> Vec<u64> {
        // While `new` fills `given_before`, only phases with an entry there count.
        let phase = self.phases[..self.given_before.len()].partition_point(|phase| phase.first_step < step);
        let Some(phase) = phase.checked_sub(1) else { return vec![0; self.cells.len()] };
        let (rounds, nth) = self.place(phase, step);
        let in_round = self.round(phase, rounds).before(nth);
        let per_round = &self.phases[phase].batches_per_round;
        let given = (0..self.cells.len()).map(|c| self.given_before[phase][c] + rounds * per_round[c] + in_round[c]);
        given.collect()
    }

    /// What step `step` takes; steps count from 0. It takes the time and memory of one batch and one pass over the
    /// cells.
    pub fn step(&self, step: u64) -> ScheduledStep {
        let phase = self.phases.partition_point(|phase| phase.first_step <= step) - 1;
        let (rounds, nth) = self.place(phase, step);
        let (cell, in_round) = self.round(phase, rounds).batch(nth);
        let given = self.given_before[phase][cell] + rounds * self.phases[phase].batches_per_round[cell];
        self.batch(cell, given + in_round)
    }

    /// The `nth` batch of a cell, counted from 0 through all passes. It takes the time and memory of one batch.
    pub fn batch(&self, cell: usize, nth: u64) -> ScheduledStep {
        let CellSize { key, num_rows, global_batch } = self.cells[cell];
        let per_pass = self.cells[cell].batches_per_pass();
        let (pass, batch) = (nth / per_pass, nth % per_pass);
        let order = Permutation::new(num_rows, hash(&[self.seed, pass, Purpose::RowOrder as u64, key]));
        let rows = (batch * global_batch..(batch + 1) * global_batch).map(|i| order.apply(i)).collect();
        ScheduledStep { cell, pass, rows }
    }

    /// The number of whole rounds of a phase before `step`, and of steps in the current one.
    fn place(&self, phase: usize, step: u64) -> (u64, u64) {
        let Phase { first_step, .. } = self.phases[phase];
        let per_round = self.phases[phase].steps_per_round();
        ((step - first_step) / per_round, (step - first_step) % per_round)
    }

    fn round(&self, phase: usize, rounds: u64) -> Round<'_, impl Fn(usize, u64) -> u32> {
        let per_round = &self.phases[phase].batches_per_round;
        let jitter = move |cell: usize, i: u64| {
            let nth = self.given_before[phase][cell] + rounds * per_round[cell] + i;
            hash(&[self.seed, Purpose::BatchOrder as u64, self.cells[cell].key, nth]) as u32
        };
        Round::new(per_round, jitter)
    }
}
