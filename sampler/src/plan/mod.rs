//! The plan: the pure function (seed, epoch, step) → rows of that global batch.
//!
//! A *cell* is one data set in one length group, a stretch of the data set's by-length order. A step takes one whole
//! batch of one cell. Every rank computes the same plan from the same store and recipe, with no state and no
//! communication; a step is found without the steps before it, so resuming, also with another world size, is
//! arithmetic. Memory is one entry per cell, at any number of rows.
//!
//! Not here: which rank takes which row ([`crate::deal`]), and reading tokens ([`crate::read_share`]).

mod cells;
mod choose;
mod error;
mod hash;
mod permute;
mod policy;
mod schedule;
mod warnings;

use std::sync::Arc;

use tercet_configs::{LengthGroup, Recipe};

use crate::{Shape, Store};

pub(crate) use choose::reorder_segments;

pub use choose::Choice;
pub use error::PlanError;
pub use permute::Permutation;
pub use policy::{GroupSize, Policy};
pub use schedule::{Cell, Schedule, ScheduledStep};

/// Which rows every step of a run takes, and what it takes from them.
#[derive(Debug)]
pub struct Plan {
    store: Arc<Store>,
    schedule: Schedule,
    /// One per data set of the store.
    policies: Vec<Policy>,
    length_groups: Vec<LengthGroup>,
    seed: u64,
    query_max_len: usize,
    passage_max_len: usize,
    shuffle_ratio: f64,
    warnings: Vec<String>,
}

/// The rows that all ranks together see in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalBatch {
    /// The optimizer step, from 0.
    pub step: u64,
    /// Passes over the data before this one.
    pub epoch: u64,
    /// Data set and length group.
    pub cell: Cell,
    /// Positions in the data set's order by length, `cell.global_batch` of them.
    pub positions: Vec<u64>,
}

impl Plan {
    /// The plan of `recipe` over `store`. Reads one row per cell.
    ///
    /// # Errors
    /// When the recipe and the store do not fit: data sets that do not exist, rows that fill no batch, negatives that
    /// rows lack. Rows that a plan merely leaves out are in [`Plan::warnings`].
    pub fn new(store: Arc<Store>, recipe: &Recipe) -> Result<Self, PlanError> {
        let data = &recipe.data;
        if data.length_groups.is_empty() {
            return Err(PlanError::NoLengthGroups);
        }
        let policies = policy::policies(&store, data)?;
        let survey = cells::survey(&store, &data.length_groups);
        let warnings = warnings::warnings(&store, recipe, &survey);
        let schedule = Schedule::new(recipe.seed, survey.cells)
            .ok_or_else(|| PlanError::NothingToTrain { found: warnings::first_few(&warnings) })?;
        let plan = Self {
            store,
            schedule,
            policies,
            length_groups: data.length_groups.clone(),
            seed: recipe.seed,
            query_max_len: data.query_max_len,
            passage_max_len: data.passage_max_len,
            shuffle_ratio: data.shuffle_ratio,
            warnings,
        };
        plan.check_first_rows()?;
        Ok(plan)
    }

    /// Steps in one pass over the data; at least 1.
    pub fn steps_per_epoch(&self) -> u64 {
        self.schedule.steps_per_epoch()
    }

    /// The cells that batches come from.
    pub fn cells(&self) -> &[Cell] {
        self.schedule.cells()
    }

    /// What the recipe asks of data set `dataset`.
    pub fn policy(&self, dataset: usize) -> Policy {
        self.policies[dataset]
    }

    /// The store that the rows are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Tokens of a query at most, special tokens included.
    pub fn query_max_len(&self) -> usize {
        self.query_max_len
    }

    /// Tokens of a passage at most, special tokens included.
    pub fn passage_max_len(&self) -> usize {
        self.passage_max_len
    }

    /// What the user should know though the run goes on: rows that are left out, with numbers and remedies.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether `world_size` ranks can share every global batch equally.
    ///
    /// # Errors
    /// [`PlanError::World`], naming the first length group that they cannot and the nearest sizes that would do.
    pub fn check_world(&self, world_size: usize) -> Result<(), PlanError> {
        for cell in self.cells() {
            let LengthGroup { max_len, global_batch } = self.length_groups[cell.length_group];
            if global_batch % world_size != 0 {
                return Err(PlanError::World { max_len, global_batch, world_size });
            }
        }
        Ok(())
    }

    /// The rows of step `step`, which counts from 0 through all epochs. Time and memory: one batch's.
    pub fn global_batch(&self, step: u64) -> GlobalBatch {
        let ScheduledStep { epoch, cell, positions } = self.schedule.step(step);
        GlobalBatch { step, epoch, cell, positions }
    }

    /// What is taken in `epoch` from the row at `position` of data set `dataset`, in a batch of groups of `group_size`.
    ///
    /// # Errors
    /// [`PlanError::Row`] if the row lacks what the group needs.
    pub fn choose(
        &self,
        epoch: u64,
        dataset: usize,
        position: u64,
        shape: Shape<'_>,
        group_size: usize,
    ) -> Result<Choice, PlanError> {
        let key = hash::hash(&[self.seed, epoch, hash::Purpose::RowChoices as u64, dataset as u64, position]);
        choose::choose(key, shape, group_size, self.shuffle_ratio).map_err(|message| PlanError::Row {
            dataset: self.store.dataset(dataset).name.clone(),
            row: self.store.entry(dataset, position).map_or(position, |(row, _)| row),
            message,
        })
    }

    /// A fingerprint of everything that the plan depends on: ranks with different ones must not train together.
    pub fn checksum(&self) -> u64 {
        let lens = (self.query_max_len, self.passage_max_len, self.shuffle_ratio);
        // Of the store what is in it, not where it came from. Debug output of plain values is complete, and the same in
        // every process of one build.
        let manifest = self.store.manifest();
        let rows =
            manifest.datasets.iter().map(|set| (&set.name, &set.kind, set.has_scores, &set.shards, &set.by_length));
        let rows: Vec<_> = rows.collect();
        let everything = format!("{:?} {:?} {lens:?} {rows:?} {:?}", self.schedule, self.policies, manifest.special);
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(everything.as_bytes()).as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Rows without the negatives that their group needs are mostly whole data sets, so one row of each cell tells
    /// before the run starts what reading would tell only later.
    fn check_first_rows(&self) -> Result<(), PlanError> {
        for cell in self.cells() {
            let position = cell.first_position;
            let shape = self.store.shape(cell.dataset, position)?;
            let group_size = self.policies[cell.dataset].group_size.for_batch(shape.neg.len());
            self.choose(0, cell.dataset, position, shape, group_size)?;
        }
        Ok(())
    }
}
