//! Records a run: metrics.jsonl, TensorBoard, a plain log, and events for the launcher's progress bar.
//!
//! Only rank 0 records; on the other ranks everything here does nothing. A failure of recording ends a run only if it
//! is that of metrics.jsonl, which is the run's own history. A failure of TensorBoard is logged once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};
use tercet_cluster::Collective;
use tercet_configs::Recipe;
use tercet_sampler::Batch;

use super::beat;
use super::goodput::Goodput;
use super::history::History;
use super::idle::{Idle, Signs, Step};
use super::spikes::{self, Spikes};
use super::tensorboard::EventFile;
use crate::checkpoint::Complete;
use crate::machine::phase::PhaseSecs;
use crate::run::budget::Fitted;
use crate::step::contrastive::loss::Terms;

/// The figures of one step: a line of metrics.jsonl.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StepRecord {
    /// The number of steps done, this one included.
    pub step: u64,
    /// The number of passes over the data before this one.
    pub epoch: u64,
    /// The batch's data set.
    pub dataset: String,
    /// The batch's length group, from 0.
    pub length_group: usize,
    /// The global batch's loss.
    pub loss: f64,
    /// The loss's parts, each before its weight.
    pub terms: Terms,
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub grad_norm: f64,
    /// The number of real tokens of all ranks.
    pub tokens: u64,
    pub tokens_per_sec: f64,
    /// The share of padding among the encoded tokens.
    pub padding_share: f64,
    /// The largest estimated cost of a rank divided by the mean.
    pub imbalance: f64,
    /// The number of query-passage pairs of the global batch that were left out of the loss.
    pub false_negatives: u64,
    /// The number of steps so far that made no update. If it has grown, this step is the last of them.
    pub skipped: u64,
    /// The number of steps so far whose gradient norm was far above the usual one.
    pub grad_norm_spikes: u64,
    /// The seconds of the slowest rank.
    pub step_secs: f64,
    /// The seconds of all steps so far that made an update, each counted once.
    pub useful_secs: f64,
    /// The share of these seconds in the time since the run first began.
    pub goodput: f64,
    /// The seconds that training has waited for checkpoints since the previous step.
    pub checkpoint_stall_secs: f64,
    /// Where rank 0's time went in the step, without the wait for its batch.
    pub phase_secs: PhaseSecs,
    /// The longest wait of a rank for its batch.
    pub wait_secs: f64,
    /// The ratio of wait and step: the part of the time in which reading holds training up.
    pub wait_share: f64,
    /// The bytes that a rank hands to the collectives while it computes the gradient; the mean over ranks.
    pub all_reduce_bytes: u64,
    pub ring_bytes: u64,
    pub gather_bytes: u64,
    /// The largest resident memory of a rank.
    pub rss_bytes: u64,
    /// The largest resident memory of a rank so far.
    pub peak_rss_bytes: u64,
    /// The signs that tell whether anything was learnt.
    #[serde(skip)]
    pub signs: Signs,
}

impl StepRecord {
    /// The figures that are known before the step is computed.
    pub fn of(batch: &Batch, wait_secs: f64) -> Self {
        Self {
            step: batch.step + 1,
            epoch: batch.epoch,
            dataset: batch.dataset.clone(),
            length_group: batch.length_group,
            imbalance: batch.imbalance,
            wait_secs,
            ..Self::default()
        }
    }

    /// The same for a step that computes nothing; `skipped` includes it.
    pub fn left_out(self, skipped: u64) -> Self {
        Self { loss: f64::NAN, grad_norm: f64::NAN, learning_rate: f64::NAN, skipped, ..self }
    }

    /// TensorBoard's tags and values.
    fn scalars(&self) -> Vec<(String, f64)> {
        let terms = serde_json::to_value(&self.terms).unwrap_or_default();
        let terms = terms.as_object().into_iter().flatten();
        let terms = terms.filter_map(|(name, value)| Some((format!("loss/{name}"), value.as_f64()?)));
        let mut scalars: Vec<(String, f64)> = terms.collect();
        for (tag, value) in [
            ("loss/total", self.loss),
            ("optimizer/learning_rate", self.learning_rate),
            ("optimizer/grad_norm", self.grad_norm),
            ("speed/tokens_per_sec", self.tokens_per_sec),
            ("speed/step_secs", self.step_secs),
            ("speed/goodput", self.goodput),
            ("speed/input_wait_share", self.wait_share),
            ("batch/padding_share", self.padding_share),
            ("batch/imbalance", self.imbalance),
            ("batch/false_negatives", self.false_negatives as f64),
            ("faults/skipped", self.skipped as f64),
            ("faults/grad_norm_spikes", self.grad_norm_spikes as f64),
            ("speed/checkpoint_stall_secs", self.checkpoint_stall_secs),
            ("memory/rss_bytes", self.rss_bytes as f64),
        ] {
            scalars.push((tag.to_owned(), value));
        }
        scalars.extend(self.phase_secs.named().map(|(name, secs)| (format!("phase_secs/{name}"), secs)));
        scalars
    }
}

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
        let Opened { history, spikes, num_spikes, goodput } = open(&run_dir, first_step, spike_ratio)?;
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
            run_dir,
        };
        let (world_size, startup_secs) = (ranks.world_size(), process_secs());
        sink.event(
            "start",
            &json!({"run_dir": sink.run_dir, "first_step": first_step, "last_step": recipe.steps,
                "world_size": world_size, "startup_secs": startup_secs, "warnings": warnings,
            }),
        );
        // With events the launcher shows the warnings; the log file has them in any case.
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let steps = format!("steps {} to {}", first_step + 1, recipe.steps);
        tracing::info!("{}: {world_size} ranks, {steps}, ready after {startup_secs:.2} s", recipe.name);
        Ok(Self { sink: Some(sink) })
    }

    /// Records the result of the memory budget.
    pub fn fitted(&self, fitted: &Fitted) {
        if self.sink.is_some() {
            let mib = |bytes: u64| bytes >> 20;
            tracing::info!(
                "memory of {} MiB (memory_budget, or without it half of what is free): {} held between steps, {} for the \
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
    pub fn step(&mut self, mut record: StepRecord, updated: bool) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if updated {
            sink.goodput.add(record.step_secs);
        }
        (record.useful_secs, record.goodput) = (sink.goodput.useful_secs(), sink.goodput.share());
        sink.look_for_spike(&record);
        sink.look_for_idleness(&record);
        record.grad_norm_spikes = sink.num_spikes;
        // Serialising plain structs of numbers and strings cannot fail.
        let line = serde_json::to_value(&record).expect("plain data");
        sink.history.push(&line)?;
        sink.event("step", &line);
        if let Some(mut file) = sink.tensorboard.take() {
            sink.tensorboard = or_without(file.scalars(record.step, &record.scalars()).map(|()| file));
        }
        if record.step.is_multiple_of(sink.log_every) || record.step == sink.last_step {
            tracing::info!(
                "step {}/{}  loss {:.4}  lr {:.2e}  grad norm {:.3}  {:.0} tokens/s  padding {:.1} %  wait {:.3} s",
                record.step,
                sink.last_step,
                record.loss,
                record.learning_rate,
                record.grad_norm,
                record.tokens_per_sec,
                100.0 * record.padding_share,
                record.wait_secs,
            );
        }
        Ok(())
    }

    /// Reports what the user should know, in the log and as an event.
    pub fn warn(&self, text: &str) {
        let Some(sink) = &self.sink else { return };
        sink.warn(text);
    }

    /// Records that a checkpoint is complete.
    pub fn checkpoint(&self, complete: &Complete) {
        let Some(sink) = &self.sink else { return };
        sink.event("checkpoint", &json!({"path": complete.path, "step": complete.step}));
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
        let Opened { history, spikes, num_spikes, goodput } = open(&sink.run_dir, step, sink.spike_ratio)?;
        (sink.history, sink.spikes, sink.num_spikes, sink.goodput) = (history, spikes, num_spikes, goodput);
        Ok(())
    }

    /// Records that the run has stopped because it was asked to, with `steps` steps done and kept.
    ///
    /// # Errors
    /// metrics.jsonl cannot be synced.
    pub fn stopped(&mut self, steps: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.history.sync()?;
        sink.event("stopped", &json!({"step": steps}));
        tracing::info!("asked to stop: stopped after step {steps}; --resume goes on from there");
        Ok(())
    }

    /// Records that the run is complete.
    ///
    /// # Errors
    /// metrics.jsonl cannot be synced.
    pub fn end(&mut self, steps: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.history.sync()?;
        sink.event("end", &json!({"steps": steps, "run_dir": sink.run_dir}));
        Ok(())
    }
}

impl Sink {
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

    fn look_for_idleness(&mut self, record: &StepRecord) {
        let &StepRecord { step, loss, grad_norm, learning_rate, false_negatives, signs, ref dataset, .. } = record;
        let taken = Step { step, dataset, loss, grad_norm, learning_rate, false_negatives, signs };
        let words = self.idle.take(&taken, step == self.last_step);
        words.iter().for_each(|text| self.warn(text));
    }

    fn warn(&self, text: &str) {
        self.event("warning", &json!({"text": text}));
        tracing::warn!("{text}");
    }

    /// `values` is an object with at least one key.
    fn event(&self, name: &str, values: &Value) {
        if self.events {
            let values = values.to_string();
            // The launcher recognises a line by its beginning. A launcher that is gone misses nothing.
            let _ = beat::say(&format!("{{\"event\":\"{name}\",{}", &values[1..]));
        }
    }
}

/// The history up to some step, and what its last lines say about usual gradient norms, spikes so far and useful time.
struct Opened {
    history: History,
    spikes: Spikes,
    num_spikes: u64,
    goodput: Goodput,
}

fn open(run_dir: &Path, step: u64, spike_ratio: f64) -> anyhow::Result<Opened> {
    let (history, last) = History::open(run_dir.join("metrics.jsonl"), step, spikes::WINDOW)?;
    let spikes = Spikes::new(spike_ratio, last.iter().filter_map(|line| line["grad_norm"].as_f64()));
    let num_spikes = last.last().and_then(|line| line["grad_norm_spikes"].as_u64()).unwrap_or(0);
    let useful_secs = last.last().and_then(|line| line["useful_secs"].as_f64()).unwrap_or(0.0);
    Ok(Opened { history, spikes, num_spikes, goodput: Goodput::new(run_dir, useful_secs) })
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
