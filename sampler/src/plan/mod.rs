//! The plan: the pure function (seed, step) → rows of that global batch.
//!
//! A *source* is a data set, or small ones merged; a *cell* is one source in one length group, made of stretches of the
//! data sets' orders by length. A step takes one whole batch of one cell. Every rank computes the same plan from the
//! same store and recipe, with no state and no communication; a step is found without the steps before it, so resuming,
//! also with another world size, is arithmetic. Memory is one entry per cell, at any number of rows.
//!
//! Not here: which rank takes which row ([`crate::deal`]), and reading tokens ([`crate::read_share`]).

mod cells;
mod choose;
mod error;
mod fingerprint;
mod hash;
mod interleave;
mod mixture;
mod permute;
mod policy;
mod prefix;
mod schedule;
mod source;
mod warnings;

use std::sync::Arc;

use tercet_configs::Recipe;

use crate::{Shape, Store};

pub(crate) use choose::reorder_segments;

pub use cells::Cell;
pub use choose::Choice;
pub use error::PlanError;
pub use hash::hash;
pub use permute::Permutation;
pub use policy::{GroupSize, Policy, agreed_prefixes};
pub use schedule::{CellSize, Phase, Schedule, ScheduledStep};
pub use source::Source;

/// Which rows every step of a run takes, and what it takes from them.
#[derive(Debug)]
pub struct Plan {
    store: Arc<Store>,
    sources: Vec<Source>,
    cells: Vec<Cell>,
    schedule: Schedule,
    seed: u64,
    query_max_len: usize,
    passage_max_len: usize,
    shuffle_ratio: f64,
    warnings: Vec<String>,
}

/// The rows that all ranks together see in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalBatch {
    /// The cell's index in the plan.
    pub cell: usize,
    /// Passes over the cell's rows before this one.
    pub epoch: u64,
    /// Data set and position in its order by length of each row, in the batch's order.
    pub positions: Vec<(usize, u64)>,
}

impl Plan {
    /// The plan of `recipe` over the store that it names.
    ///
    /// # Errors
    /// As [`Plan::store_of`] and [`Plan::new`].
    pub fn open(recipe: &Recipe) -> Result<Self, PlanError> {
        Self::new(Self::store_of(recipe)?, recipe)
    }

    /// The store that `recipe` names.
    ///
    /// # Errors
    /// It names none, or it cannot be opened.
    pub fn store_of(recipe: &Recipe) -> Result<Arc<Store>, PlanError> {
        let dir = &recipe.data.store;
        if dir.as_os_str().is_empty() {
            return Err(PlanError::NoStore);
        }
        Ok(Arc::new(Store::open(dir)?))
    }

    /// The plan of `recipe` over `store`. Reads tables of shapes where rows must have negatives, and no row.
    ///
    /// # Errors
    /// When the recipe and the store do not fit: data sets that do not exist, rows that fill no batch, negatives that
    /// rows lack. Rows that a plan merely leaves out are in [`Plan::warnings`].
    pub fn new(store: Arc<Store>, recipe: &Recipe) -> Result<Self, PlanError> {
        let data = &recipe.data;
        let source::Sources { sources, notes } = source::sources(&store, recipe)?;
        let survey = cells::survey(&store, &sources)?;
        let warnings = warnings::warnings(&store, recipe, &sources, &notes, &survey);
        let cells = survey.cells;
        if cells.is_empty() {
            return Err(PlanError::NothingToTrain { found: warnings::first_few(&warnings) });
        }
        let sizes: Vec<_> =
            (cells.iter()).map(|cell| (cell.source, cell.size.batches_per_pass(), cell.size.global_batch)).collect();
        let phases = source::phases(&sources, data).into_iter().map(|(first_step, draws)| Phase {
            first_step,
            batches_per_round: mixture::batches_per_round(&sizes, &draws, data.sampling_temperature),
        });
        let phases: Vec<Phase> = phases.collect();
        if let Some(empty) = phases.iter().find(|phase| phase.steps_per_round() == 0) {
            return Err(PlanError::NoWeight { from_step: empty.first_step });
        }
        // Texts alone are queries without passages.
        let (query_max_len, passage_max_len) = match recipe.loss.preset.is_pretraining() {
            true => (data.text_max_len, 0),
            false => (data.query_max_len, data.passage_max_len),
        };
        let schedule = Schedule::new(recipe.seed, cells.iter().map(|cell| cell.size).collect(), phases);
        Ok(Self {
            store,
            sources,
            cells,
            schedule,
            seed: recipe.seed,
            query_max_len,
            passage_max_len,
            shuffle_ratio: data.shuffle_ratio,
            warnings,
        })
    }

    /// What batches are taken from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The cells that batches come from.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The source of a cell.
    pub fn source(&self, cell: &Cell) -> &Source {
        &self.sources[cell.source]
    }

    /// The mixtures of the run, by their first steps.
    pub fn phases(&self) -> &[Phase] {
        self.schedule.phases()
    }

    /// The number of batches that each cell gives in the first `steps` steps. The time does not depend on the steps.
    pub fn batches_given_by(&self, steps: u64) -> Vec<u64> {
        self.schedule.given_by(steps)
    }

    /// The store that the rows are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The largest number of tokens of a query, or of a text alone, special tokens included.
    pub fn query_max_len(&self) -> usize {
        self.query_max_len
    }

    /// The largest number of tokens of a passage, special tokens included; 0 where rows are texts alone.
    pub fn passage_max_len(&self) -> usize {
        self.passage_max_len
    }

    /// The number of tokens that no text of any batch exceeds, prefixes and special tokens included.
    pub fn longest_text(&self) -> usize {
        let cut = self.query_max_len.max(self.passage_max_len);
        let longest = self.cells.iter().map(|cell| {
            let Policy { query_prefix, passage_prefix, .. } = &self.source(cell).policy;
            cell.lens.1 + query_prefix.len().max(passage_prefix.len())
        });
        longest.max().unwrap_or(0).min(cut)
    }

    /// What the user should know though the run goes on: rows that are left out, with numbers and remedies.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether `world_size` ranks can share every global batch equally.
    ///
    /// # Errors
    /// [`PlanError::World`], naming the first cell's batch that they cannot and the nearest sizes that would do.
    pub fn check_world(&self, world_size: usize) -> Result<(), PlanError> {
        for cell in &self.cells {
            let (max_len, global_batch) = (cell.lens.1, cell.size.global_batch as usize);
            if global_batch % world_size != 0 {
                return Err(PlanError::World { max_len, global_batch, world_size });
            }
        }
        Ok(())
    }

    /// The rows of step `step`, which counts from 0. Time and memory: one batch's.
    pub fn global_batch(&self, step: u64) -> GlobalBatch {
        self.located(self.schedule.step(step))
    }

    /// The rows of the `nth` batch that a cell gives. Time and memory: one batch's.
    pub fn batch_of_cell(&self, cell: usize, nth: u64) -> GlobalBatch {
        self.located(self.schedule.batch(cell, nth))
    }

    fn located(&self, ScheduledStep { cell, pass, rows }: ScheduledStep) -> GlobalBatch {
        let positions = rows.into_iter().map(|row| self.cells[cell].locate(row)).collect();
        GlobalBatch { cell, epoch: pass, positions }
    }

    /// What the random choices of step `step` in the texts of row number `row` of data set `dataset` come from.
    pub fn row_key(&self, step: u64, dataset: usize, row: u64) -> u64 {
        let name = hash::hash_name(&self.store.dataset(dataset).name);
        hash::hash(&[self.seed, step, hash::Purpose::RowKey as u64, name, row])
    }

    /// What is taken in `epoch` from the row at `position` of data set `dataset`, in a batch of groups of `group_size`,
    /// 0 where rows are texts alone.
    ///
    /// # Errors
    /// [`PlanError::Row`] if the row lacks what the group needs.
    pub fn choose(
        &self,
        epoch: u64,
        (dataset, position): (usize, u64),
        shape: Shape<'_>,
        group_size: usize,
    ) -> Result<Choice, PlanError> {
        let name = hash::hash_name(&self.store.dataset(dataset).name);
        let key = hash::hash(&[self.seed, epoch, hash::Purpose::RowChoices as u64, name, position]);
        choose::choose(key, shape, group_size, self.shuffle_ratio).map_err(|message| PlanError::Row {
            dataset: self.store.dataset(dataset).name.clone(),
            row: self.store.entry(dataset, position).map_or(position, |(row, _)| row),
            message,
        })
    }
}
