//! Records a run: metrics.jsonl, TensorBoard, a plain log, and events for the launcher's progress bar.
//!
//! Only rank 0 records; on the other ranks everything here does nothing. A failure of recording ends a run only if it
//! is that of metrics.jsonl, which is the run's own history. A failure of TensorBoard is logged once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_cluster::Collective;
use tercet_configs::Recipe;
use tercet_protocol::says::{EvalRecord, Event, StepRecord};

use super::beat;
use super::fitted::Fitted;
use super::goodput::Goodput;
use super::history::History;
use super::idle::{Idle, Signs, Step};
use super::spikes::{self, Spikes};
use super::step_record::scalars;
use super::tensorboard::EventFile;
use crate::checkpoint::Complete;

/// The recorder; only rank 0's records anything.
pub struct Recorder {
    sink: Option<Sink>,
}

struct Sink {
    history: History,
    spikes: Spikes,
    /// The number of spikes so far.
    num_spikes: u64,
    idle: Idle,
    goodput: Goodput,
    spike_ratio: f64,
    tensorboard: Option<EventFile>,
    events: bool,
    log_every: u64,
    last_step: u64,
    /// The step of the last evaluation in the history.
    evaluated: Option<u64>,
    run_dir: PathBuf,
}

impl Recorder {
    /// Opens the run folder's files; a resumed run's metrics are cut back to the step it resumes from.
    ///
    /// # Errors
    /// metrics.jsonl cannot be written.
    pub fn start(
        recipe: &Recipe,
        ranks: &dyn Collective,
        first_step: u64,
        warnings: &[String],
        events: bool,
    ) -> anyhow::Result<Self> {
        if ranks.rank() != 0 {
            return Ok(Self { sink: None });
        }
        let run_dir = recipe.run_dir.clone();
        let spike_ratio = recipe.faults.grad_norm_spike;
        let Opened { history, spikes, num_spikes, goodput, evaluated } = open(&run_dir, first_step, spike_ratio)?;
        let tensorboard = or_without(EventFile::create(&run_dir.join("tensorboard"), ranks.host()));
        let (log_every, last_step) = (recipe.log.every_steps.max(1), recipe.steps);
        let sink = Sink {
            history,
            spikes,
            num_spikes,
            idle: Idle::default(),
            goodput,
            spike_ratio,
            tensorboard,
            events,
            log_every,
            last_step,
            evaluated,
            run_dir,
        };
        let (world_size, startup_secs) = (ranks.world_size(), process_secs());
        sink.event(|| Event::Start {
            run_dir: sink.run_dir.clone(),
            first_step,
            last_step: recipe.steps,
            world_size,
            startup_secs,
            warnings: warnings.to_vec(),
        });
        // With events it is the launcher that shows them; the log file has them in any case.
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        // `tercet report` reads this line.
        let steps = format!("steps {} to {}", first_step + 1, recipe.steps);
        tracing::info!("{}: {world_size} ranks, {steps}, ready after {startup_secs:.2} s", recipe.name);
        Ok(Self { sink: Some(sink) })
    }

    /// Records the result of the memory budget.
    pub fn fitted(&self, fitted: &Fitted) {
        if self.sink.is_some() {
            let mib = |bytes: u64| bytes >> 20;
            tracing::info!(
                "memory of {} MiB (memory_budget, or without it what may be used of what is free): {} held between steps, {} for the \
                 longest batch's representations and scores, {} for a sub-batch of {} tokens; the rest keeps the graphs of {} \
                 tokens",
                mib(fitted.budget_bytes),
                mib(fitted.used_bytes),
                mib(fitted.scoring_bytes),
                mib(fitted.sub_batch_bytes),
                fitted.sub_batch_tokens,
                fitted.kept_graph_tokens
            );
        }
    }

    /// Records one step; `updated` tells whether it made an update.
    ///
    /// # Errors
    /// metrics.jsonl cannot be written.
    pub fn step(&mut self, record: &mut StepRecord, signs: Signs, updated: bool) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if updated {
            sink.goodput.add(record.step_secs);
        }
        (record.useful_secs, record.goodput) = (sink.goodput.useful_secs(), sink.goodput.share());
        sink.look_for_spike(record);
        sink.look_for_idleness(record, signs);
        record.grad_norm_spikes = sink.num_spikes;
        sink.history.push(record)?;
        sink.event(|| Event::Step(Box::new(record.clone())));
        if let Some(mut file) = sink.tensorboard.take() {
            sink.tensorboard = or_without(file.scalars(record.step, &scalars(record)).map(|()| file));
        }
        if record.step.is_multiple_of(sink.log_every) || record.step == sink.last_step {
            let on_device = record.device_peak_bytes.map(|bytes| format!("  GPU {} MiB", bytes >> 20));
            tracing::info!(
                "step {}/{}  loss {:.4}  lr {:.2e}  grad norm {:.3}  {:.0} tokens/s  wait {:.3} s{}",
                record.step,
                sink.last_step,
                record.loss,
                record.learning_rate,
                record.grad_norm,
                record.tokens_per_sec,
                record.wait_secs,
                on_device.unwrap_or_default(),
            );
        }
        Ok(())
    }

    /// The model is about to be evaluated, after `step` steps.
    pub fn evaluating(&self, step: u64) {
        let Some(sink) = &self.sink else { return };
        sink.event(|| Event::Evaluating { step });
    }

    /// Records an evaluation, of which `shown` is the figure to show; `best` tells that its checkpoint is the best so
    /// far by that figure.
    ///
    /// # Errors
    /// metrics.jsonl cannot be written.
    pub fn evaluated(&mut self, record: &EvalRecord, shown: &str, best: bool) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.keep_evaluation(record)?;
        sink.event(|| Event::Evaluated { record: record.clone(), shown: shown.to_owned(), best });
        let means = record.figures.iter().filter(|(name, _)| name.starts_with("eval/mean/"));
        let means: String =
            means.map(|(name, figure)| format!("  {} {figure:.4}", &name["eval/mean/".len()..])).collect();
        tracing::info!("evaluated step {} in {:.1} s:{means}", record.step, record.eval_secs);
        Ok(())
    }

    /// Takes an evaluation into the history that a run which was killed has not recorded there.
    ///
    /// # Errors
    /// metrics.jsonl cannot be written.
    pub fn evaluated_before(&mut self, record: &EvalRecord) -> anyhow::Result<()> {
        match &mut self.sink {
            Some(sink) if sink.evaluated != Some(record.step) => sink.keep_evaluation(record),
            _ => Ok(()),
        }
    }

    /// The share of `secs` in the time since the run first began; 0 on the ranks that do not record.
    pub fn share_of(&self, secs: f64) -> f64 {
        self.sink.as_ref().map_or(0.0, |sink| sink.goodput.share_of(secs))
    }

    /// Reports what the user should know, in the log and as an event.
    pub fn warn(&self, text: &str) {
        let Some(sink) = &self.sink else { return };
        sink.warn(text);
    }

    /// Records that a checkpoint is complete.
    pub fn checkpoint(&self, complete: &Complete) {
        let Some(sink) = &self.sink else { return };
        sink.event(|| Event::Checkpoint { path: complete.path.clone(), step: complete.step });
        tracing::info!("checkpoint {}", complete.path.display());
    }

    /// The file that must be synced before a checkpoint is complete; none on the ranks that do not record.
    ///
    /// # Errors
    /// The system gives no handle.
    pub fn history(&self) -> anyhow::Result<Option<File>> {
        self.sink.as_ref().map(|sink| sink.history.handle()).transpose()
    }

    /// The run continues from an earlier step: the steps after it are recorded anew.
    ///
    /// # Errors
    /// metrics.jsonl cannot be cut back.
    pub fn roll_back(&mut self, step: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let Opened { history, spikes, num_spikes, goodput, evaluated } = open(&sink.run_dir, step, sink.spike_ratio)?;
        (sink.history, sink.spikes, sink.num_spikes, sink.goodput) = (history, spikes, num_spikes, goodput);
        sink.evaluated = evaluated;
        Ok(())
    }

    /// Records that the run has stopped because it was asked to, with `steps` steps done and kept.
    ///
    /// # Errors
    /// metrics.jsonl cannot be synced.
    pub fn stopped(&mut self, steps: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.history.sync()?;
        sink.event(|| Event::Stopped { step: steps });
        tracing::info!("asked to stop: stopped after step {steps}; --resume goes on from there");
        Ok(())
    }

    /// Records that the run is complete, with `steps` steps done; `early` says why, where they are fewer than was asked
    /// for.
    ///
    /// # Errors
    /// metrics.jsonl cannot be synced.
    pub fn end(&mut self, steps: u64, early: Option<String>) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.history.sync()?;
        if let Some(why) = &early {
            tracing::info!("ended after step {steps}: {why}");
        }
        sink.event(|| Event::End { run_dir: sink.run_dir.clone(), steps, early });
        Ok(())
    }
}

impl Sink {
    fn keep_evaluation(&mut self, record: &EvalRecord) -> anyhow::Result<()> {
        self.history.push(record)?;
        self.evaluated = Some(record.step);
        let mut scalars: Vec<(String, f64)> = record.figures.clone().into_iter().collect();
        scalars.push(("speed/eval_secs".into(), record.eval_secs));
        scalars.push(("speed/eval_share".into(), record.eval_share));
        if let Some(mut file) = self.tensorboard.take() {
            self.tensorboard = or_without(file.scalars(record.step, &scalars).map(|()| file));
        }
        Ok(())
    }

    fn look_for_spike(&mut self, record: &StepRecord) {
        if !record.grad_norm.is_finite() {
            return;
        }
        if let Some(times) = self.spikes.take(record.grad_norm) {
            self.num_spikes += 1;
            let StepRecord { step, grad_norm, dataset, .. } = record;
            self.warn(&format!(
                "step {step}: gradient norm {grad_norm:.3} is {times:.1} times the median of the steps before (data set \
                 {dataset})"
            ));
        }
    }

    fn look_for_idleness(&mut self, record: &StepRecord, signs: Signs) {
        let &StepRecord { step, loss, grad_norm, learning_rate, false_negatives, ref dataset, .. } = record;
        let taken = Step { step, dataset, loss, grad_norm, learning_rate, false_negatives, signs };
        let words = self.idle.take(&taken, step == self.last_step);
        words.iter().for_each(|text| self.warn(text));
    }

    fn warn(&self, text: &str) {
        self.event(|| Event::Warning { text: text.to_owned() });
        tracing::warn!("{text}");
    }

    fn event(&self, event: impl FnOnce() -> Event) {
        if self.events {
            // Who is gone misses nothing.
            let _ = beat::say(&event().line());
        }
    }
}

/// The history up to some step, and what its last lines say about usual gradient norms, spikes so far and useful time.
struct Opened {
    history: History,
    spikes: Spikes,
    num_spikes: u64,
    goodput: Goodput,
    /// The step of the last evaluation in the history, if it is not too long ago.
    evaluated: Option<u64>,
}

fn open(run_dir: &Path, step: u64, spike_ratio: f64) -> anyhow::Result<Opened> {
    let (history, last) = History::open(run_dir.join("metrics.jsonl"), step, spikes::WINDOW)?;
    let (evaluations, last): (Vec<Value>, Vec<Value>) = last.into_iter().partition(EvalRecord::is_one);
    let evaluated = evaluations.last().and_then(|line| line["step"].as_u64());
    let last: Vec<StepRecord> = last.into_iter().filter_map(|line| serde_json::from_value(line).ok()).collect();
    let norms = last.iter().map(|record| record.grad_norm).filter(|norm| norm.is_finite());
    let spikes = Spikes::new(spike_ratio, norms);
    let (num_spikes, useful_secs) = last.last().map_or((0, 0.0), |last| (last.grad_norm_spikes, last.useful_secs));
    Ok(Opened { history, spikes, num_spikes, goodput: Goodput::new(run_dir, useful_secs), evaluated })
}

/// The run continues without TensorBoard if its file cannot be written.
fn or_without(file: io::Result<EventFile>) -> Option<EventFile> {
    file.map_err(|error| tracing::warn!("no TensorBoard events from here on: {error}")).ok()
}

/// The seconds since this process began; 0 if the system does not say.
fn process_secs() -> f64 {
    // Both count from the machine's start. The process's beginning is the 20th field after its name, in hundredths of a
    // second.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let began = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<f64>().ok());
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let now = uptime.split_whitespace().next().and_then(|secs| secs.parse::<f64>().ok());
    now.zip(began).map_or(0.0, |(now, began)| now - began / 100.0)
}
