//! `train`: repeats steps, records them, keeps checkpoints.

pub mod budget;
mod diagnosis;
mod faults;
mod hold;
mod lock;
pub mod matmul;
mod saver;
mod setup;
pub mod stop;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tercet_cluster::heartbeat::{self, Doing};
use tercet_cluster::{Collective, Counted, ReduceOp, Traffic, any_rank, any_rank_each};
use tercet_configs::{ExitCode, Recipe, Teacher};
use tercet_protocol::args::RankTrainArgs;
use tercet_protocol::says::StepRecord;
use tercet_sampler::{Batch, Plan, Prefetcher};

use crate::checkpoint::TrainState;
use crate::machine::memory::resident_bytes;
use crate::machine::phase::{self, Phase, during};
use crate::preflight;
use crate::record::beat;
use crate::record::idle::Signs;
use crate::record::shares::Shares;
use crate::record::step_record;
use crate::step::optimizer::{clip_grad_norm, learning_rate};
use crate::step::{StepBatch, StepOutcome, StepSettings, compute_gradients};
pub use faults::NotFinite;
use faults::{Faults, Reaction, RollBack};
use hold::Hold;
use matmul::Needs;
use saver::Saver;
use setup::Run;
pub use setup::{SetupError, compute_kind_of, kind_of};
pub(crate) use setup::{agree_on_recipe, check_same_tokenizer, plan};

/// Trains as the recipe says. Every rank calls it. [`ExitCode::Preempted`] says that it was asked to stop and can go on.
///
/// # Errors
/// Whatever ends the run; the error chain says on what.
pub fn run(args: &RankTrainArgs, ranks: &Counted) -> anyhow::Result<ExitCode> {
    let mut recipe = args.what.recipe.load()?;
    recipe.resolve_pooling()?;
    if args.events {
        beat::start(ranks, recipe.restart.stop_secs).context("starting the heartbeat thread")?;
    }
    let remarks = preflight::check(&recipe, ranks)?;
    let run = setup::set_up(&recipe, args, remarks, ranks)?;
    let saver = Saver::new(&recipe, &run, ranks)?;
    let (settings, shares) = (StepSettings::of(&recipe), Shares::start(&recipe, ranks)?);
    let faults = Faults::new(recipe.faults);
    let hold = Hold::of_environment(ranks.rank())?;
    let mut training = Training { recipe: &recipe, ranks, faults, run, saver, settings, shares, hold, stopping: false };
    let Some(plan) = training.run.plan.clone() else {
        // Its one checkpoint, unless that is what the run goes on from.
        if !training.run.is_resumed {
            training.save()?;
        }
        return training.end();
    };
    training.fit(&plan)?;
    training.hold.after(training.run.progress.step)?;
    if any_rank(ranks, stop::asked())? {
        return training.stop();
    }
    loop {
        match training.steps(&plan)? {
            Until::RollBack(roll_back) => training.roll_back(roll_back)?,
            Until::Asked => return training.stop(),
            Until::End => return training.end(),
        }
    }
}

/// A run, and what happens around its steps.
struct Training<'a> {
    recipe: &'a Recipe,
    ranks: &'a Counted,
    faults: Faults,
    run: Run,
    saver: Saver,
    settings: StepSettings,
    shares: Option<Shares>,
    hold: Hold,
    /// All ranks know that one of them has been asked to stop.
    stopping: bool,
}

/// What ended a row of steps.
enum Until {
    /// The last one is done.
    End,
    /// Somebody asked to stop.
    Asked,
    RollBack(RollBack),
}

/// What a step came to.
enum Done {
    Updated,
    /// Its batch was left out, or its update skipped.
    Skipped,
    RollBack(RollBack),
}

impl Training<'_> {
    /// Allocates what the steps need, and fits a step into the memory budget. Every rank calls it.
    fn fit(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let Run { model, recorder, matmul, .. } = &mut self.run;
        model.enable_gradients(compute_kind_of(self.recipe.precision));
        *matmul = matmul::choose(model, self.recipe.cpu_matmul, matmul.as_ref(), Needs::Training, self.ranks)?;
        if let Some(fitted) = budget::fit(model, self.ranks, plan, self.recipe, &mut self.settings)? {
            recorder.fitted(&fitted);
        }
        Ok(())
    }

    /// Trains until all steps are done, the run has to roll back, or it was asked to stop. Every rank calls it.
    fn steps(&mut self, plan: &Arc<Plan>) -> anyhow::Result<Until> {
        let steps = self.run.progress.step..self.recipe.steps;
        let mut batches = Prefetcher::start(plan.clone(), self.ranks.rank(), self.ranks.world_size(), steps.clone())
            .context("starting the prefetch thread")?;
        heartbeat::begin(Doing::Computing);
        for step in steps {
            beat::at_step(step + 1);
            let batch = heartbeat::during(Doing::ReadingBatch, || batches.next()).context("the plan ended early")??;
            let done = self.step(batch, batches.wait_secs(), plan);
            // The checkpoint that is being written is finished first. If it cannot be, that is the cause to tell.
            let done = done.or_else(|error| self.saver.wait(&mut self.run.recorder).and(Err(error)))?;
            let updated = matches!(done, Done::Updated);
            if let Done::RollBack(roll_back) = done {
                return Ok(Until::RollBack(roll_back));
            }
            let stops = self.stopping && updated && step + 1 < self.recipe.steps;
            if self.saver.is_due(step + 1, updated) || stops {
                self.save()?;
            }
            if stops {
                return Ok(Until::Asked);
            }
            self.hold.after(step + 1)?;
        }
        Ok(Until::End)
    }

    /// One step, recorded. Every rank calls it.
    fn step(&mut self, batch: Batch, wait_secs: f64, plan: &Plan) -> anyhow::Result<Done> {
        let started = Instant::now();
        phase::take();
        self.saver.report(&mut self.run.recorder)?;
        let Run { model, optimizer, progress, recorder, .. } = &mut self.run;
        progress.step = batch.step + 1;
        let mut record = step_record::of(&batch, wait_secs);
        record.checkpoint_stall_secs = self.saver.take_stall_secs();
        if progress.left_out.contains(&progress.step) {
            progress.skipped += 1;
            recorder.step(step_record::left_out(record, progress.skipped), Signs::default(), false)?;
            return Ok(Done::Skipped);
        }
        let settings = self.settings.clone();
        let rows = batch.row_ids.clone();
        let batch = StepBatch::from(batch);
        self.ranks.take_traffic();
        let outcome = compute_gradients(model, self.ranks, &settings, &batch)
            .with_context(|| format!("step {}", progress.step))?;
        let traffic = self.ranks.take_traffic();
        record.grad_norm =
            during(Phase::Optimizer, || clip_grad_norm(self.ranks, &model.parameters, &self.recipe.optimizer))?;
        record.learning_rate = learning_rate(&self.recipe.optimizer, batch.step, self.recipe.steps);
        // All ranks have the same sums, but a norm's rounding depends on a host's number of threads, and near the largest
        // number it may overflow on one of them only. So they agree, before any weight changes; and on stopping.
        let finite = outcome.loss.is_finite() && record.grad_norm.is_finite();
        let [faulty, stops] = any_rank_each(self.ranks, [!finite, stop::asked()])?;
        self.stopping |= stops;
        if faulty {
            progress.skipped += 1;
        } else {
            let rate = record.learning_rate;
            during(Phase::Optimizer, || optimizer.update(self.ranks, &model.parameters, &self.recipe.optimizer, rate))?;
        }
        record.skipped = progress.skipped;
        record.phase_secs = phase::take().by_name();
        let signs = Signs::of(&batch, &outcome, self.recipe.loss.teacher != Teacher::None);
        let signs = share_figures(self.ranks, &outcome, traffic, &mut record, signs, started)?;
        if let Err(error) = recorder.step(record.clone(), signs, !faulty) {
            // A checkpoint on its way may be what has filled the disk; then its failure says more.
            self.saver.wait(recorder)?;
            return Err(error);
        }
        if let Some(shares) = &mut self.shares {
            shares.step(self.ranks, record.step, &rows, outcome.num_tokens)?;
        }
        if !faulty {
            self.faults.updated();
            return Ok(Done::Updated);
        }
        let culprit = diagnosis::find_culprit(model, self.ranks, &settings, &batch, &rows, plan.store())?;
        self.react(&record, culprit)
    }

    /// Tells of a fault, and what follows. Every rank calls it.
    ///
    /// # Errors
    /// [`NotFinite`] if the run ends here.
    fn react(&mut self, record: &StepRecord, culprit: String) -> anyhow::Result<Done> {
        let StepRecord { step, loss, grad_norm, dataset, skipped, .. } = record.clone();
        let in_a_row = self.faults.num_in_a_row() + 1;
        let told = format!(
            "step {step} (data set {dataset}): loss {loss}, gradient norm {grad_norm}: {culprit}: update skipped \
             ({in_a_row} in a row, {skipped} in all)"
        );
        let stopped_because = String::new();
        let last_good = step - in_a_row;
        let fault = NotFinite { step, loss, grad_norm, dataset, culprit, in_a_row, stopped_because, last_good };
        let reaction = self.faults.add(step, self.run.progress.updates());
        if let Reaction::Stop(stopped_because) = reaction {
            // No rank ends the others before the checkpoint that rank 0 may be writing is complete.
            self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
            return Err(NotFinite { stopped_because, ..fault }.into());
        }
        self.run.recorder.warn(&told);
        Ok(match reaction {
            Reaction::RollBack(left_out) => Done::RollBack(RollBack { left_out, fault }),
            _ => Done::Skipped,
        })
    }

    /// Goes back to the newest good checkpoint, to go on from there without some steps' batches. Every rank calls it.
    ///
    /// # Errors
    /// There is none.
    fn roll_back(&mut self, RollBack { left_out, fault }: RollBack) -> anyhow::Result<()> {
        // What is being written may be the one to go back to.
        self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
        let mut remarks = Vec::new();
        let newest = setup::load_newest(self.recipe, self.ranks, &mut remarks)?;
        remarks.iter().for_each(|text| self.run.recorder.warn(text));
        let Some((path, resumed)) = newest else {
            let stopped_because = "there is no checkpoint yet to roll back to".to_owned();
            return Err(NotFinite { stopped_because, ..fault }.into());
        };
        let known = std::mem::replace(&mut self.run.progress, resumed.state.progress).left_out;
        let matmul = self.run.model.parameters.matmul;
        (self.run.model, self.run.optimizer) = (resumed.model, resumed.optimizer);
        self.run.model.parameters.matmul = matmul;
        self.run.model.enable_gradients(compute_kind_of(self.recipe.precision));
        self.saver.goes_on_from(self.run.progress.step);
        let progress = &mut self.run.progress;
        progress.left_out.extend(known.iter().chain(&left_out));
        self.run.recorder.roll_back(progress.step)?;
        self.run.recorder.warn(&format!(
            "rolled back from step {} to step {} ({}): the batches of steps {left_out:?} are left out from now on",
            fault.step,
            progress.step,
            path.display()
        ));
        Ok(())
    }

    /// Takes a checkpoint. Every rank calls it; rank 0 has it written.
    fn save(&mut self) -> anyhow::Result<()> {
        let Run { model, optimizer, plan, progress, recorder, matmul, .. } = &mut self.run;
        let mut whole = None;
        if self.recipe.optimizer.shard_state {
            whole = optimizer.gather(self.ranks, &model.parameters)?;
        }
        let optimizer = whole.as_ref().unwrap_or(optimizer);
        let state = || TrainState {
            progress: progress.clone(),
            recipe_hash: self.recipe.hash(),
            plan_checksum: plan.as_ref().map_or(0, |plan| plan.checksum(progress.step)),
            cpu_matmul: matmul.clone(),
        };
        self.saver.save(model, optimizer, state, recorder, self.shares.as_ref())
    }

    /// The last checkpoint is complete, and with it the run. Every rank calls it.
    fn end(mut self) -> anyhow::Result<ExitCode> {
        self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
        self.run.recorder.end(self.recipe.steps)?;
        Ok(ExitCode::Success)
    }

    /// The run stops where it is, and can go on from there. Every rank calls it.
    fn stop(mut self) -> anyhow::Result<ExitCode> {
        self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
        self.run.recorder.stopped(self.run.progress.step)?;
        Ok(ExitCode::Preempted)
    }
}

/// Fills in what needs all ranks' figures; the largest of their `signs`. Every rank calls it.
fn share_figures(
    ranks: &dyn Collective,
    outcome: &StepOutcome,
    traffic: Traffic,
    record: &mut StepRecord,
    signs: Signs,
    started: Instant,
) -> anyhow::Result<Signs> {
    let counts = [outcome.num_tokens, outcome.num_padded_tokens, outcome.num_false_negatives];
    let bytes = [traffic.all_reduce_bytes, traffic.ring_bytes, traffic.gather_bytes];
    let mut sums = [0.0; 6];
    sums[..3].copy_from_slice(&counts.map(|count| count as f64));
    sums[3..].copy_from_slice(&bytes.map(|bytes| bytes as f64 / ranks.world_size() as f64));
    ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
    let [resident, peak] = resident_bytes().map(|bytes| bytes as f64);
    let [spread, lexical, teacher] = signs.largest();
    let mut maxima = [resident, peak, record.wait_secs, started.elapsed().as_secs_f64(), spread, lexical, teacher];
    ranks.all_reduce(maxima.as_mut_slice().into(), ReduceOp::Max)?;
    record.loss = outcome.loss;
    record.terms = step_record::named_terms(&outcome.terms);
    (record.wait_secs, record.step_secs) = (maxima[2], maxima[3]);
    record.wait_share = record.wait_secs / record.step_secs.max(f64::MIN_POSITIVE);
    record.tokens = sums[0] as u64;
    record.tokens_per_sec = sums[0] / record.step_secs;
    record.padding_share = 1.0 - sums[0] / sums[1];
    record.false_negatives = sums[2] as u64;
    [record.all_reduce_bytes, record.ring_bytes, record.gather_bytes] =
        [sums[3], sums[4], sums[5]].map(|bytes| bytes.round() as u64);
    (record.rss_bytes, record.peak_rss_bytes) = (maxima[0] as u64, maxima[1] as u64);
    Ok(Signs { spread: maxima[4], lexical: maxima[5], teacher: maxima[6], ..signs })
}
