//! What a run tells: metrics.jsonl, TensorBoard, a plain log, and events for the launcher's progress bar.
//!
//! Rank 0 records; on the other ranks everything here does nothing. Recording never ends a run but for metrics.jsonl,
//! which is the run's own history: TensorBoard's failures are logged once.

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

/// One step's figures; a line of metrics.jsonl.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Passes over the data before this one.
    pub epoch: u64,
    /// The batch's data set.
    pub dataset: String,
    /// The batch's length group, from 0.
    pub length_group: usize,
    /// The global batch's loss.
    pub loss: f64,
    /// Its parts, each before its weight.
    pub terms: Terms,
    pub learning_rate: f64,
    /// Before clipping.
    pub grad_norm: f64,
    /// Real tokens of all ranks.
    pub tokens: u64,
    pub tokens_per_sec: f64,
    /// Padding's share of the encoded tokens.
    pub padding_share: f64,
    /// Largest over mean estimated cost of the ranks.
    pub imbalance: f64,
    /// Query-passage pairs of the global batch that were left out of the loss.
    pub false_negatives: u64,
    /// Steps so far that made no update: this one is the last of them if the number has grown.
    pub skipped: u64,
    /// Steps so far whose gradient norm was far above the usual one.
    pub grad_norm_spikes: u64,
    /// The slowest rank's.
    pub step_secs: f64,
    /// Of all steps so far that made an update, each counted once.
    pub useful_secs: f64,
    /// These seconds' share of the time since the run first began.
    pub goodput: f64,
    /// What training has waited for checkpoints since the step before.
    pub checkpoint_stall_secs: f64,
    /// Where rank 0's time went in the step; the wait for its batch is not in it.
    pub phase_secs: PhaseSecs,
    /// The longest that a rank waited for its batch.
    pub wait_secs: f64,
    /// The two's ratio: the part of a step that reading holds up.
    pub wait_share: f64,
    /// What a rank hands to the collectives while it computes the gradient, the mean over ranks.
    pub all_reduce_bytes: u64,
    pub ring_bytes: u64,
    pub gather_bytes: u64,
    /// The largest resident memory of a rank.
    pub rss_bytes: u64,
    /// The largest that a rank's has been so far.
    pub peak_rss_bytes: u64,
    /// What tells whether anything was learnt.
    #[serde(skip)]
    pub signs: Signs,
}

impl StepRecord {
    /// What is known before the step is computed.
    pub fn of(batch: &Batch, wait_secs: f64) -> Self {
        Self {
            step: batch.share.step + 1,
            epoch: batch.origin.epoch,
            dataset: batch.origin.dataset.clone(),
            length_group: batch.origin.length_group,
            imbalance: batch.origin.imbalance,
            wait_secs,
            ..Self::default()
        }
    }

    /// The same for a step that computes nothing; `skipped` counts it as well.
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

/// Where rank 0 records.
pub struct Recorder {
    sink: Option<Sink>,
}

struct Sink {
    history: History,
    spikes: Spikes,
    /// How many there were.
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
        // With events it is the launcher that shows them; the log file has them in any case.
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let steps = format!("steps {} to {}", first_step + 1, recipe.steps);
        tracing::info!("{}: {world_size} ranks, {steps}, ready after {startup_secs:.2} s", recipe.name);
        Ok(Self { sink: Some(sink) })
    }

    /// What the memory budget came to.
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

    /// Records one step, which has made an update or not; fills in what is known of all steps so far.
    ///
    /// # Errors
    /// metrics.jsonl cannot be written.
    pub fn step(&mut self, record: &mut StepRecord, updated: bool) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if updated {
            sink.goodput.add(record.step_secs);
        }
        (record.useful_secs, record.goodput) = (sink.goodput.useful_secs(), sink.goodput.share());
        sink.look_for_spike(record);
        sink.look_for_idleness(record);
        record.grad_norm_spikes = sink.num_spikes;
        // Plain structs of numbers and strings cannot fail to serialise.
        let line = serde_json::to_value(&*record).expect("plain data");
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

    /// Says what the user should know: in the log, and where he looks.
    pub fn warn(&self, text: &str) {
        let Some(sink) = &self.sink else { return };
        sink.warn(text);
    }

    /// A checkpoint is complete.
    pub fn checkpoint(&self, complete: &Complete) {
        let Some(sink) = &self.sink else { return };
        sink.event("checkpoint", &json!({"path": complete.path, "step": complete.step}));
        tracing::info!("checkpoint {}", complete.path.display());
    }

    /// The file that has to be synced before a checkpoint is complete; none on the ranks that do not record.
    ///
    /// # Errors
    /// The system gives no handle.
    pub fn history(&self) -> anyhow::Result<Option<File>> {
        self.sink.as_ref().map(|sink| sink.history.handle()).transpose()
    }

    /// The run goes on from an earlier step: what follows it is told anew.
    ///
    /// # Errors
    /// metrics.jsonl cannot be cut back.
    pub fn roll_back(&mut self, step: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let Opened { history, spikes, num_spikes, goodput } = open(&sink.run_dir, step, sink.spike_ratio)?;
        (sink.history, sink.spikes, sink.num_spikes, sink.goodput) = (history, spikes, num_spikes, goodput);
        Ok(())
    }

    /// The run has stopped because it was asked to, `steps` steps being done and kept.
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

    /// The run is complete.
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
            // The launcher knows a line by its beginning.
            // Who is gone misses nothing.
            let _ = beat::say(&format!("{{\"event\":\"{name}\",{}", &values[1..]));
        }
    }
}

/// The history up to some step, and what its last lines say of usual gradient norms, of spikes so far and of useful time.
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

/// The run goes on without TensorBoard when its file cannot be written.
fn or_without(file: io::Result<EventFile>) -> Option<EventFile> {
    file.map_err(|error| tracing::warn!("no TensorBoard events from here on: {error}")).ok()
}

/// Seconds since this process began; 0 where the system does not say.
fn process_secs() -> f64 {
    // Both count from the machine's start; the process's beginning is the 20th field after its name, in hundredths.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let began = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<f64>().ok());
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let now = uptime.split_whitespace().next().and_then(|secs| secs.parse::<f64>().ok());
    now.zip(began).map_or(0.0, |(now, began)| now - began / 100.0)
}
