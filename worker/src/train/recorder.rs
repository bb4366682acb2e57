//! What a run tells: metrics.jsonl, TensorBoard, a plain log, and events for the launcher's progress bar.
//!
//! Rank 0 records; on the other ranks everything here does nothing. Recording never ends a run but for metrics.jsonl,
//! which is the run's own history: TensorBoard's failures are logged once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use tercet_cluster::Collective;
use tercet_configs::Recipe;
use tercet_sampler::Batch;

use super::tensorboard::EventFile;
use crate::loss::Terms;

/// One step's figures; a line of metrics.jsonl.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct StepRecord {
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
    /// The slowest rank's.
    pub step_secs: f64,
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
}

impl StepRecord {
    /// What is known before the step is computed.
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
            ("speed/input_wait_share", self.wait_share),
            ("batch/padding_share", self.padding_share),
            ("batch/imbalance", self.imbalance),
            ("batch/false_negatives", self.false_negatives as f64),
            ("memory/rss_bytes", self.rss_bytes as f64),
        ] {
            scalars.push((tag.to_owned(), value));
        }
        scalars
    }
}

/// Where rank 0 records.
pub(super) struct Recorder {
    sink: Option<Sink>,
}

struct Sink {
    metrics: File,
    tensorboard: Option<EventFile>,
    events: bool,
    log_every: u64,
    last_step: u64,
    run_dir: std::path::PathBuf,
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
        let path = run_dir.join("metrics.jsonl");
        let metrics = open_metrics(&path, first_step).with_context(|| format!("opening {}", path.display()))?;
        let board = run_dir.join("tensorboard");
        let tensorboard = or_without(EventFile::create(&board, ranks.host()));
        let (log_every, last_step) = (recipe.log.every_steps.max(1), recipe.steps);
        let sink = Sink { metrics, tensorboard, events, log_every, last_step, run_dir };
        let world_size = ranks.world_size();
        sink.event(&json!({
            "event": "start", "run_dir": sink.run_dir, "first_step": first_step, "last_step": recipe.steps,
            "world_size": world_size, "warnings": warnings,
        }));
        if !events {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        tracing::info!("{}: {world_size} ranks, steps {} to {}", recipe.name, first_step + 1, recipe.steps);
        Ok(Self { sink: Some(sink) })
    }

    /// Records one step.
    ///
    /// # Errors
    /// metrics.jsonl cannot be written.
    pub fn step(&mut self, record: StepRecord) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        // Plain structs of numbers and strings cannot fail to serialise.
        let mut line = serde_json::to_value(&record).expect("plain data");
        writeln!(sink.metrics, "{line}").with_context(|| sink.about_metrics("writing"))?;
        line["event"] = "step".into();
        sink.event(&line);
        if let Some(mut file) = sink.tensorboard.take() {
            sink.tensorboard = or_without(file.scalars(record.step, &record.scalars()).map(|()| file));
        }
        if line["step"].as_u64().is_some_and(|step| step % sink.log_every == 0 || step == sink.last_step) {
            let number = |key: &str| line[key].as_f64().unwrap_or(f64::NAN);
            tracing::info!(
                "step {}/{}  loss {:.4}  lr {:.2e}  grad norm {:.3}  {:.0} tokens/s  padding {:.1} %  wait {:.3} s",
                line["step"],
                sink.last_step,
                number("loss"),
                number("learning_rate"),
                number("grad_norm"),
                number("tokens_per_sec"),
                100.0 * number("padding_share"),
                number("wait_secs"),
            );
        }
        Ok(())
    }

    /// A checkpoint is complete.
    ///
    /// # Errors
    /// metrics.jsonl cannot be synced.
    pub fn checkpoint(&mut self, path: &Path, step: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.metrics.sync_data().with_context(|| sink.about_metrics("syncing"))?;
        sink.event(&json!({"event": "checkpoint", "path": path, "step": step}));
        tracing::info!("checkpoint {}", path.display());
        Ok(())
    }

    /// The run is complete.
    ///
    /// # Errors
    /// metrics.jsonl cannot be synced.
    pub fn end(&mut self, steps: u64) -> anyhow::Result<()> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        sink.metrics.sync_all().with_context(|| sink.about_metrics("syncing"))?;
        sink.event(&json!({"event": "end", "steps": steps, "run_dir": sink.run_dir}));
        Ok(())
    }
}

impl Sink {
    /// What an error of metrics.jsonl is put after.
    fn about_metrics(&self, doing: &str) -> String {
        let path = self.run_dir.join("metrics.jsonl");
        format!("{doing} {} (if the disk is full: free space, then go on with --resume)", path.display())
    }

    fn event(&self, event: &Value) {
        if self.events {
            println!("{event}");
        }
    }
}

/// The run goes on without TensorBoard when its file cannot be written.
fn or_without(file: io::Result<EventFile>) -> Option<EventFile> {
    file.map_err(|error| tracing::warn!("no TensorBoard events from here on: {error}")).ok()
}

/// metrics.jsonl without the lines after `first_step`, ready to append.
fn open_metrics(path: &Path, first_step: u64) -> io::Result<File> {
    let mut kept = Vec::new();
    if let Ok(file) = File::open(path) {
        for line in BufReader::new(file).lines() {
            let line = line?;
            let step = serde_json::from_str::<Value>(&line).ok().and_then(|v| v["step"].as_u64());
            if step.is_some_and(|step| step <= first_step) {
                kept.push(line + "\n");
            }
        }
    }
    fs::write(path, kept.concat())?;
    OpenOptions::new().append(true).open(path)
}

/// Resident memory of this process in bytes, now and at most so far; 0 where the system does not say.
pub fn resident_bytes() -> [u64; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
    })
}
