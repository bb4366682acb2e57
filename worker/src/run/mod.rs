//! `train`: repeats steps, records them, keeps checkpoints.

pub mod budget;
mod diagnosis;
mod error;
mod evaluation;
mod faults;
mod hold;
mod lock;
mod other_weights;
mod saver;
mod setup;
pub mod stop;
mod words;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tercet_cluster::heartbeat::{self, Doing};
use tercet_cluster::{Collective, Counted, any_rank};
use tercet_configs::{ExitCode, Recipe, Teacher};
use tercet_protocol::args::RankTrainArgs;
use tercet_protocol::says::StepRecord;
use tercet_sampler::{Batch, Plan, Prefetcher};

use crate::agreement::matmul::{self, Needs};
use crate::agreement::{compute_kind_of, precision, same_weights};
use crate::checkpoint::TrainState;
use crate::machine::{memory, phase};
use crate::preflight;
use crate::record::beat;
use crate::record::figures::share_figures;
use crate::record::idle::Signs;
use crate::record::shares::Shares;
use crate::record::step_record;
use crate::step::settings::{StepSettings, Trainee};
use crate::step::train_step;
pub use error::SetupError;
use evaluation::Evaluations;
pub use faults::NotFinite;
use faults::{Faults, Reaction, RollBack};
use hold::Hold;
use other_weights::OtherWeights;
use saver::Saver;
use setup::Run;
pub(crate) use setup::{agree_on_recipe, check_same_tokenizer, model_of, plan};

/// Trains as the recipe says. Every rank calls it. [`ExitCode::Preempted`] says that it was asked to stop and can go
/// on.
///
/// # Errors
/// Whatever ends the run; the error chain says on what.
pub fn run(args: &RankTrainArgs, ranks: &Counted) -> anyhow::Result<ExitCode> {
    let mut recipe = args.what.recipe.load()?;
    recipe.resolve_pooling()?;
    if args.events {
        beat::start(ranks, recipe.restart.stop_secs).context("starting the heartbeat thread")?;
    }
    let mut remarks = preflight::check(&recipe, ranks)?;
    remarks.extend(precision::decide(&mut recipe, args.what.resume, ranks)?);
    let mut run = setup::set_up(&recipe, args, remarks, ranks)?;
    let datasets = std::mem::take(&mut run.datasets);
    let evaluations = Evaluations::new(&recipe, datasets, &run.model, run.progress.step, ranks)?;
    let best = evaluations.as_ref().and_then(Evaluations::best);
    let saver = Saver::new(&recipe, &run, best, ranks)?;
    let (settings, shares) = (StepSettings::of(&recipe), Shares::start(&recipe, ranks)?);
    let faults = Faults::new(recipe.faults);
    let (hold, others) = (Hold::of_environment(ranks.rank())?, OtherWeights::of_environment()?);
    let stopping = false;
    let mut training =
        Training { recipe: &recipe, ranks, faults, run, saver, evaluations, settings, shares, hold, others, stopping };
    let Some(plan) = training.run.plan.clone() else {
        // Its one checkpoint, unless that is what the run goes on from.
        if !training.run.is_resumed {
            training.save()?;
        }
        return training.end(None);
    };
    training.fit(&plan)?;
    training.hold.after(training.run.progress.step)?;
    if any_rank(ranks, stop::asked())? {
        return training.stop();
    }
    let mut next = training.catch_up()?;
    let mut batches = training.read_ahead(&plan)?;
    while next == Next::Step && training.run.progress.step < recipe.steps {
        beat::at_step(training.run.progress.step + 1);
        let batch = heartbeat::during(Doing::ReadingBatch, || batches.next()).context("the plan ended early")??;
        let done = training.step(batch, batches.wait_secs(), &plan);
        // The checkpoint that is being written is finished first. If it cannot be, that is the cause to tell.
        match done.or_else(|error| training.saver.wait(&mut training.run.recorder).and(Err(error)))? {
            Done::RollBack(roll_back) => {
                drop(batches);
                training.roll_back(roll_back)?;
                batches = training.read_ahead(&plan)?;
            }
            done => next = training.after_step(matches!(done, Done::Updated))?,
        }
    }
    match next {
        Next::Step => training.end(None),
        Next::Stop => training.stop(),
        Next::End(why) => training.end(Some(why)),
    }
}

/// A run, and what happens around its steps.
struct Training<'a> {
    recipe: &'a Recipe,
    ranks: &'a Counted,
    faults: Faults,
    run: Run,
    saver: Saver,
    evaluations: Option<Evaluations>,
    settings: StepSettings,
    shares: Option<Shares>,
    hold: Hold,
    others: OtherWeights,
    /// All ranks know that one of them has been asked to stop.
    stopping: bool,
}

/// What follows a step.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The next one, if there is one.
    Step,
    /// The run stops, because somebody asked for it, and can go on.
    Stop,
    /// It is complete, and why.
    End(String),
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
        phase::follow(model.options().1);
        Ok(())
    }

    /// This rank's batches from the next step on, read in a thread.
    fn read_ahead(&self, plan: &Arc<Plan>) -> anyhow::Result<Prefetcher> {
        let steps = self.run.progress.step..self.recipe.steps;
        let batches = Prefetcher::start(plan.clone(), self.ranks.rank(), self.ranks.world_size(), steps)
            .context("starting the prefetch thread")?;
        heartbeat::begin(Doing::Computing);
        Ok(batches)
    }

    /// One step, recorded. Every rank calls it.
    fn step(&mut self, batch: Batch, wait_secs: f64, plan: &Plan) -> anyhow::Result<Done> {
        let started = Instant::now();
        phase::begin_step();
        self.saver.report(&mut self.run.recorder)?;
        let Run { model, optimizer, progress, recorder, .. } = &mut self.run;
        progress.step = batch.share.step + 1;
        let mut record = step_record::of(&batch, wait_secs);
        record.checkpoint_stall_secs = self.saver.take_stall_secs();
        if progress.left_out.contains(&progress.step) {
            progress.skipped += 1;
            recorder.step(&mut step_record::left_out(record, progress.skipped), Signs::default(), false)?;
            return Ok(Done::Skipped);
        }
        let trainee = Trainee { model, settings: &self.settings };
        let unread = || self.saver.wait_until_copied();
        let stepped = train_step(&trainee, optimizer, self.ranks, &batch.share, stop::asked, unread)
            .with_context(|| format!("step {}", progress.step))?;
        self.stopping |= stepped.stops;
        progress.skipped += u64::from(!stepped.is_updated);
        record.skipped = progress.skipped;
        record.phase_secs = phase::take().by_name();
        let with_teacher = self.recipe.loss.teacher != Teacher::None;
        let signs = share_figures(self.ranks, &batch.share, &stepped, with_teacher, started, &mut record)?;
        if let Err(error) = recorder.step(&mut record, signs, stepped.is_updated) {
            // A checkpoint on its way may be what has filled the disk; then its failure says more.
            self.saver.wait(recorder)?;
            return Err(error);
        }
        if let Some(shares) = &mut self.shares {
            shares.step(self.ranks, record.step, &batch.origin.row_ids, stepped.outcome.num_tokens)?;
        }
        if stepped.is_updated {
            self.faults.updated();
            return Ok(Done::Updated);
        }
        let culprit = diagnosis::find_culprit(&trainee, self.ranks, &batch, plan.store())?;
        self.react(record, culprit)
    }

    /// Takes a checkpoint if one is due after a step that has made an update or not, of weights that are all ranks',
    /// and evaluates the model if that is due. Every rank calls it.
    fn after_step(&mut self, updated: bool) -> anyhow::Result<Next> {
        let step = self.run.progress.step;
        let stops = self.stopping && updated && step < self.recipe.steps;
        let evaluates = self.evaluations.as_mut().is_some_and(|evaluations| evaluations.is_due(step, updated));
        self.run.progress.evaluates = evaluates;
        let saves = self.saver.is_due(step, updated) || evaluates || stops;
        self.others.after(step, self.ranks.rank(), &self.run.model.parameters.flat);
        if saves || step.is_multiple_of(same_weights::EVERY) {
            let weights = &self.run.model.parameters.flat;
            if let Err(error) = same_weights::check(self.ranks, weights, format_args!("after step {step}")) {
                // As where a fault ends the run: the checkpoint before, which may still be being written, is good.
                self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
                return Err(error);
            }
        }
        if saves {
            self.save()?;
        }
        if stops {
            return Ok(Next::Stop);
        }
        self.hold.after(step)?;
        if evaluates { self.evaluate() } else { Ok(Next::Step) }
    }

    /// Evaluates the model of the checkpoint that was just taken. Every rank calls it.
    fn evaluate(&mut self) -> anyhow::Result<Next> {
        let Some(evaluations) = &mut self.evaluations else { return Ok(Next::Step) };
        let (Run { model, recorder, progress, .. }, ranks) = (&mut self.run, self.ranks);
        // From here on a run that goes on knows that this evaluation is still to be made.
        self.saver.wait_together(recorder, ranks)?;
        recorder.evaluating(progress.step);
        let (limit, step) = (self.settings.sub_batch, progress.step);
        let is_whole = beat::during_evaluation(|| evaluations.evaluate(model, limit, step, recorder, ranks))?;
        // An evaluation's tensors have other sizes than a step's.
        memory::give_back(model.options().1);
        if !is_whole {
            return Ok(Next::Stop);
        }
        self.saver.best_is(evaluations.best(), step);
        self.saver.report(recorder)?;
        Ok(self.end_early())
    }

    /// Makes the evaluation that an earlier part of the run has not come to. Every rank calls it.
    fn catch_up(&mut self) -> anyhow::Result<Next> {
        let Run { recorder, progress, .. } = &mut self.run;
        let Some(evaluations) = self.evaluations.as_ref().filter(|_| progress.step > 0) else { return Ok(Next::Step) };
        match evaluations.of(progress.step) {
            Some(record) => recorder.evaluated_before(record)?,
            None if progress.evaluates || progress.step == self.recipe.steps => return self.evaluate(),
            None => {}
        }
        Ok(self.end_early())
    }

    /// Whether another step follows, by what evaluations have found.
    fn end_early(&self) -> Next {
        let evaluations = self.evaluations.as_ref().filter(|_| self.run.progress.step < self.recipe.steps);
        evaluations.and_then(Evaluations::end_early).map_or(Next::Step, Next::End)
    }

    /// Tells of a fault, and what follows. Every rank calls it.
    ///
    /// # Errors
    /// [`NotFinite`] if the run ends here.
    fn react(&mut self, record: StepRecord, culprit: String) -> anyhow::Result<Done> {
        let StepRecord { step, loss, grad_norm, dataset, skipped, .. } = record;
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
        // A second model beside this one may be more than a GPU has room for.
        let into = (&mut self.run.model, &mut self.run.optimizer);
        let newest = setup::reload_newest(self.recipe, self.ranks, into, &mut remarks)?;
        remarks.iter().for_each(|text| self.run.recorder.warn(text));
        let Some((path, state)) = newest else {
            let stopped_because = "there is no checkpoint yet to roll back to".to_owned();
            return Err(NotFinite { stopped_because, ..fault }.into());
        };
        let known = std::mem::replace(&mut self.run.progress, state.progress).left_out;
        self.saver.goes_on_from(self.run.progress.step);
        if let Some(evaluations) = &mut self.evaluations {
            evaluations.goes_on_from(self.run.progress.step, self.ranks)?;
            self.saver.best_is(evaluations.best(), self.run.progress.step);
        }
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
        let state = || TrainState {
            progress: progress.clone(),
            recipe_hash: self.recipe.hash(),
            plan_checksum: plan.as_ref().map_or(0, |plan| plan.checksum(progress.step)),
            cpu_matmul: matmul.clone(),
        };
        self.saver.save(model, optimizer, state, recorder, self.shares.as_ref(), self.ranks)
    }

    /// The last checkpoint is complete, and with it the run; `early` says why, where that is before its last step.
    /// Every rank calls it.
    fn end(mut self, early: Option<String>) -> anyhow::Result<ExitCode> {
        self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
        self.run.recorder.end(self.run.progress.step, early)?;
        Ok(ExitCode::Success)
    }

    /// The run stops where it is, and can go on from there. Every rank calls it.
    fn stop(mut self) -> anyhow::Result<ExitCode> {
        self.saver.wait_together(&mut self.run.recorder, self.ranks)?;
        self.run.recorder.stopped(self.run.progress.step)?;
        Ok(ExitCode::Preempted)
    }
}
