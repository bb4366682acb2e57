//! What a run has left in its folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use tercet_configs::{EvalSection, ExitCode, Recipe, from_toml};
use tercet_protocol::says::{EvalRecord, StepRecord};

use super::curve::Curve;
use super::document::Unit;
use super::files::{bad, read_if_there};
use super::log::Log;
use crate::exit::Fail;
use crate::supervise::record::{self, Timed};

/// A run.
#[derive(Debug)]
pub struct Run {
    /// What it is called.
    pub name: String,
    /// The recipe as the run has resolved it; none where this version cannot use it, or there is none.
    pub recipe: Option<Recipe>,
    /// Its keys, `section.key`, and their values as JSON.
    pub keys: BTreeMap<String, Value>,
    /// Sums over the steps.
    pub sums: Sums,
    /// The last step's line; none before the first step.
    pub last: Option<StepRecord>,
    /// By figure.
    pub curves: BTreeMap<Figure, Curve>,
    /// All that were made.
    pub evaluations: Vec<EvalRecord>,
    /// What the last evaluation was judged by: a checksum of data, judgments and settings.
    pub judged_by: Option<String>,
    /// Failures, and how the run went on.
    pub restarts: Vec<Timed>,
    /// Seconds since 1970 when it began.
    pub began: Option<u64>,
    /// Starts and warnings.
    pub log: Log,
}

/// Over the steps of a run.
#[derive(Debug, Default)]
pub struct Sums {
    /// How many they are.
    pub steps: u64,
    /// Tokens.
    pub tokens: f64,
    /// Largest over mean cost.
    pub imbalance: f64,
    /// Seconds.
    pub step_secs: f64,
    /// Waits for input.
    pub wait_secs: f64,
    /// Waits for checkpoints.
    pub checkpoint_secs: f64,
    /// Seconds of rank 0 by phase.
    pub phase_secs: BTreeMap<String, f64>,
    /// A rank's bytes: all-reduce, ring, all-gather.
    pub bytes: [f64; 3],
    /// The most that a rank's tensors took on a GPU.
    pub device_peak_bytes: Option<u64>,
    /// The largest resident memory of a rank.
    pub peak_rss_bytes: u64,
}

/// A figure that has a curve. Figures of one kind stand together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figure {
    /// Where its chart stands.
    pub kind: Kind,
    /// What it is.
    pub name: String,
    /// How its values are written.
    pub unit: Unit,
}

/// Kinds of figures, in the order of their charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Losses,
    Optimizer,
    Batches,
    Speed,
    Memory,
    Evaluation,
}

impl Kind {
    /// The heading above its charts.
    pub fn title(self) -> &'static str {
        match self {
            Self::Losses => "Losses",
            Self::Optimizer => "Optimizer",
            Self::Batches => "Batches: balance",
            Self::Speed => "Speed and goodput",
            Self::Memory => "Memory of the largest rank",
            Self::Evaluation => "Evaluations during the run, means over data sets",
        }
    }
}

impl Run {
    /// Reads the folder of a run; it may still be going on.
    ///
    /// # Errors
    /// A file that cannot be read, or whose content is none of a run's.
    pub fn read(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let (toml, path) = (read_if_there(&folder.join("recipe.toml"))?, folder.join("recipe.toml"));
        let recipe = toml.as_ref().and_then(|text| Recipe::parse(text, &path, &[]).ok());
        // One of an earlier version has the defaults of keys that it lacks.
        let text = recipe.as_ref().map(Recipe::to_toml).or(toml);
        let mut run = Self {
            name: name.to_owned(),
            recipe,
            keys: text.map(|text| keys_of(&text, &path)).transpose()?.unwrap_or_default(),
            sums: Sums::default(),
            last: None,
            curves: BTreeMap::new(),
            evaluations: Vec::new(),
            judged_by: None,
            restarts: record::read(folder).with_context(|| format!("{}", folder.display()))?,
            began: read_if_there(&folder.join("began"))?.and_then(|text| text.trim().parse().ok()),
            log: Log::read(&folder.join("train.log"))?,
        };
        run.read_metrics(&folder.join("metrics.jsonl"))?;
        let last = run.evaluations.last().map(|evaluation| evaluation.step);
        run.judged_by = last.and_then(|step| judged_by(folder, step));
        Ok(run)
    }

    /// Steps that the recipe has.
    pub fn planned_steps(&self) -> Option<u64> {
        self.keys.get("steps").and_then(Value::as_u64)
    }

    /// Steps that are done.
    pub fn steps(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.step)
    }

    fn read_metrics(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file.with_context(|| format!("{}", path.display()))?,
        };
        let mut torn: Option<(usize, String)> = None;
        for (nth, line) in BufReader::new(file).split(b'\n').enumerate() {
            let line = line.with_context(|| format!("{}", path.display()))?;
            if line.is_empty() {
                continue;
            }
            if let Some((nth, why)) = torn {
                // The end of a file may be torn when a machine goes down; what other lines follow was whole.
                return Err(bad(path, nth, &why).into());
            }
            torn = self.take(&line).err().map(|error| (nth + 1, error.to_string()));
        }
        Ok(())
    }

    fn take(&mut self, line: &[u8]) -> serde_json::Result<()> {
        let value: Value = serde_json::from_slice(line)?;
        if EvalRecord::is_one(&value) {
            let record: EvalRecord = serde_json::from_value(value)?;
            self.evaluation(record);
        } else {
            let record: StepRecord = serde_json::from_value(value)?;
            self.sums.add(&record);
            for (figure, value) in figures(&record) {
                self.curves.entry(figure).or_default().push(record.step, value);
            }
            self.last = Some(record);
        }
        Ok(())
    }

    fn evaluation(&mut self, record: EvalRecord) {
        for (name, value) in &record.figures {
            if let Some([EvalSection::MEAN, ranking, metric]) =
                name.strip_prefix(EvalRecord::BEGINNING).and_then(EvalSection::parts)
            {
                let figure = Figure { kind: Kind::Evaluation, name: format!("{metric}, {ranking}"), unit: Unit::Plain };
                self.curves.entry(figure).or_default().push(record.step, *value);
            }
        }
        self.evaluations.push(record);
    }
}

impl Sums {
    fn add(&mut self, step: &StepRecord) {
        self.steps += 1;
        self.tokens += step.tokens as f64;
        self.imbalance += step.imbalance;
        self.step_secs += step.step_secs;
        self.wait_secs += step.wait_secs;
        self.checkpoint_secs += step.checkpoint_stall_secs;
        for (phase, secs) in &step.phase_secs {
            *self.phase_secs.entry(phase.clone()).or_default() += secs;
        }
        let bytes = [step.all_reduce_bytes, step.ring_bytes, step.gather_bytes];
        self.bytes.iter_mut().zip(bytes).for_each(|(sum, own)| *sum += own as f64);
        self.device_peak_bytes = self.device_peak_bytes.max(step.device_peak_bytes);
        self.peak_rss_bytes = self.peak_rss_bytes.max(step.peak_rss_bytes);
    }

    /// The mean of a sum over the steps; none before the first.
    pub fn mean(&self, sum: f64) -> Option<f64> {
        (self.steps > 0).then(|| sum / self.steps as f64)
    }
}

/// The figures of a step that have curves.
fn figures(step: &StepRecord) -> Vec<(Figure, f64)> {
    let figure = |kind, name: &str, unit| Figure { kind, name: name.to_owned(), unit };
    let mut all = vec![
        (figure(Kind::Losses, "loss", Unit::Plain), step.loss),
        (figure(Kind::Optimizer, "gradient norm", Unit::Plain), step.grad_norm),
        (figure(Kind::Optimizer, "learning rate", Unit::Small), step.learning_rate),
        (figure(Kind::Batches, "largest over mean cost of ranks", Unit::Plain), step.imbalance),
        (figure(Kind::Speed, "goodput", Unit::Share), step.goodput),
        (figure(Kind::Speed, "tokens a second", Unit::Scaled("")), step.tokens_per_sec),
        (figure(Kind::Speed, "wait for input", Unit::Share), step.wait_share),
        (figure(Kind::Memory, "resident memory", Unit::Scaled("B")), step.rss_bytes as f64),
    ];
    let peak = step.device_peak_bytes.map(|bytes| bytes as f64);
    all.extend(peak.map(|bytes| (figure(Kind::Memory, "peak of a step on the GPU", Unit::Scaled("B")), bytes)));
    let terms = step.terms.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    all.extend(terms.map(|(name, value)| (figure(Kind::Losses, &format!("loss: {name}"), Unit::Plain), value)));
    let accuracies = step.accuracies.iter();
    all.extend(
        accuracies.map(|(side, share)| (figure(Kind::Losses, &format!("right words: {side}"), Unit::Share), *share)),
    );
    let gap = "what the sentence vector is worth to the decoder";
    all.extend(step.decoder_gap.map(|value| (figure(Kind::Losses, gap, Unit::Plain), value)));
    all
}

/// A recipe's keys, also one of another version.
fn keys_of(text: &str, path: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let value: Value =
        from_toml(text).map_err(|why| Fail::new(ExitCode::Data, format!("{}: {why}", path.display())))?;
    let mut keys = BTreeMap::new();
    flatten("", value, &mut keys);
    Ok(keys)
}

fn flatten(key: &str, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(inner) => {
            let before = if key.is_empty() { String::new() } else { format!("{key}.") };
            inner.into_iter().for_each(|(below, value)| flatten(&format!("{before}{below}"), value, keys));
        }
        value => _ = keys.insert(key.to_owned(), value),
    }
}

fn judged_by(folder: &Path, step: u64) -> Option<String> {
    let file: PathBuf = folder.join(format!("eval/step-{step:08}.json"));
    let value: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    Some(value.get("judged_by")?.as_str()?.to_owned())
}
