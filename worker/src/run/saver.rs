//! Decides when checkpoints are taken, and measures how long training waits for them.

use std::time::{Duration, Instant};

use tch::Tensor;
use tercet_cluster::heartbeat::{self, Doing};
use tercet_cluster::{Collective, CollectiveError};
use tercet_configs::Recipe;

use super::setup::Run;
use crate::checkpoint::{Background, Complete, Kept, Snapshot, TrainState, remove_interrupted};
use crate::model::M3Model;
use crate::record::recorder::Recorder;
use crate::record::shares::Shares;
use crate::step::update::AdamW;

/// A run's checkpoints. Rank 0 writes them in the background; on the other ranks most of this does nothing.
pub(super) struct Saver {
    background: Option<Background>,
    every_steps: u64,
    last_step: u64,
    /// Whether a checkpoint was due at a step that made no update.
    overdue: bool,
    stall: Duration,
}

impl Saver {
    /// Checkpoints of `run` as the recipe asks for them; that of step `best` stays whatever its number. From here on
    /// the run folder must belong to this run alone.
    ///
    /// # Errors
    /// As [`Snapshot::new`].
    pub fn new(recipe: &Recipe, run: &Run, best: Option<u64>, ranks: &dyn Collective) -> anyhow::Result<Self> {
        let every_steps = recipe.checkpoint.every_steps;
        let mut background = None;
        if ranks.rank() == 0 {
            remove_interrupted(&recipe.run_dir).iter().for_each(|left| run.recorder.warn(left));
            let snapshot = Snapshot::new(&run.model, recipe)?;
            let mut kept = Kept::new(recipe.checkpoint.keep, run.progress.step);
            kept.best_is(best);
            let background = background.insert(Background::new(recipe.run_dir.clone(), kept, snapshot));
            if recipe.saves_under_way() || run.is_resumed {
                background.prepare(run.is_resumed.then_some(run.progress.step))?;
            }
        }
        Ok(Self { background, every_steps, last_step: recipe.steps, overdue: false, stall: Duration::ZERO })
    }

    /// Whether a checkpoint must be taken after `step` steps; `updated` tells whether the last of them made an update.
    ///
    /// None is taken between a fault and the next update, so a run that rolls back to a checkpoint is before the first
    /// of the failed steps. The run's last state is always kept.
    pub fn is_due(&mut self, step: u64, updated: bool) -> bool {
        self.overdue |= self.every_steps > 0 && step.is_multiple_of(self.every_steps);
        let due = step == self.last_step || (self.overdue && updated);
        self.overdue &= !due;
        due
    }

    /// Takes a checkpoint and lets it be written. If the previous one is still being written, training waits for it.
    /// Every rank calls it.
    ///
    /// # Errors
    /// The previous one could not be written; a collective that failed.
    pub fn save(
        &mut self,
        model: &M3Model,
        optimizer: &AdamW,
        state: impl FnOnce() -> TrainState,
        recorder: &mut Recorder,
        shares: Option<&Shares>,
        ranks: &dyn Collective,
    ) -> anyhow::Result<()> {
        let parameters = &model.parameters;
        let Some(background) = &mut self.background else {
            return Ok(optimizer.gather(ranks, parameters, |_, _, _, _| ())?);
        };
        let started = Instant::now();
        let state = state();
        let was_busy = background.is_busy();
        let before = heartbeat::during(Doing::WritingCheckpoint, || background.wait())?;
        let remarks = background.take_remarks();
        if was_busy && before.is_some() {
            let secs = started.elapsed().as_secs_f64();
            recorder.warn(&format!(
                "step {}: waited {secs:.2} s for the checkpoint before, which was still being written: raise \
                 checkpoint.every_steps if this repeats",
                state.progress.step
            ));
        }
        let shares = shares.map(Shares::history).transpose()?.flatten();
        let histories = recorder.history()?.into_iter().chain(shares).collect();
        background.begin(histories, |snapshot| -> anyhow::Result<()> {
            snapshot.take(&parameters.flat, state);
            let take = |moment, start, values: &Tensor, lasts| snapshot.take_moment(moment, start, values, lasts);
            Ok(optimizer.gather(ranks, parameters, take)?)
        })?;
        self.stall += started.elapsed();
        tell(recorder, before, &remarks);
        Ok(())
    }

    /// Returns when weights and moments may change: the checkpoint that was taken last has all of them.
    pub fn wait_until_copied(&mut self) {
        let Some(background) = &mut self.background else { return };
        let started = Instant::now();
        background.wait_until_copied();
        self.stall += started.elapsed();
    }

    /// Reports a checkpoint that has become complete. It does not wait.
    ///
    /// # Errors
    /// The checkpoint could not be written, for example because the disk is full. Rank 0 then ends the job.
    pub fn report(&mut self, recorder: &mut Recorder) -> anyhow::Result<()> {
        let Some(background) = &mut self.background else { return Ok(()) };
        let complete = background.completed()?;
        tell(recorder, complete, &background.take_remarks());
        Ok(())
    }

    /// Waits for the checkpoint that is being written.
    ///
    /// # Errors
    /// As [`Saver::report`].
    pub fn wait(&mut self, recorder: &mut Recorder) -> anyhow::Result<()> {
        let Some(background) = &mut self.background else { return Ok(()) };
        let complete = heartbeat::during(Doing::WritingCheckpoint, || background.wait())?;
        tell(recorder, complete, &background.take_remarks());
        Ok(())
    }

    /// As [`Saver::wait`], on all ranks: none continues before the checkpoint is known to be complete. Every rank calls
    /// it.
    ///
    /// # Errors
    /// As [`Saver::report`]; a collective that failed.
    pub fn wait_together(&mut self, recorder: &mut Recorder, ranks: &dyn Collective) -> anyhow::Result<()> {
        self.wait(recorder)?;
        ranks.barrier().map_err(|error: CollectiveError| error.into())
    }

    /// The checkpoint of `best` stays whatever its number; `step` is the newest's. Call [`Saver::wait`] first.
    pub fn best_is(&mut self, best: Option<u64>, step: u64) {
        if let Some(background) = &mut self.background {
            background.best_is(best, step);
        }
    }

    /// The run continues from the checkpoint of `step`. Call [`Saver::wait`] first.
    pub fn goes_on_from(&mut self, step: u64) {
        if let Some(background) = &mut self.background {
            background.goes_on_from(step);
        }
    }

    /// The seconds that training has waited for checkpoints since the last call.
    pub fn take_stall_secs(&mut self) -> f64 {
        std::mem::take(&mut self.stall).as_secs_f64()
    }
}

/// Records a checkpoint that has become complete, if any, and remarks about others.
fn tell(recorder: &Recorder, complete: Option<Complete>, remarks: &[String]) {
    if let Some(complete) = complete {
        recorder.checkpoint(&complete);
    }
    remarks.iter().for_each(|remark| recorder.warn(remark));
}
