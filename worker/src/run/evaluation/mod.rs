//! `[eval]`: judges the model while it trains, by data sets that are small enough to be encoded anew every time.
//!
//! An evaluation follows the checkpoint of its step, when that is complete. So what it finds is that checkpoint's, and
//! a run that is killed meanwhile goes on with the same evaluation. It reads the live weights and changes nothing that
//! a step's numbers depend on.
//!
//! Indices of corpora lie in the run folder, which all ranks see, while they are searched, and are removed afterwards.

mod past;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use tercet_cluster::{Collective, any_rank, broadcast_bytes};
use tercet_configs::{EvalSection, Precision, Recipe};
use tercet_protocol::args::{Lists, Prefixes};
use tercet_protocol::says::EvalRecord;
use tercet_retrieval::Stored;
use tercet_sampler::{SubBatchLimit, TextTokenizer, check_evaluation};

use super::error::SetupError;
use super::stop;
use crate::checkpoint;
use crate::files::CommandError;
use crate::model::M3Model;
use crate::record::recorder::Recorder;
use crate::retrieval::judged::{self, Dataset, Evaluation, evaluate};
use crate::retrieval::prefixes;
use crate::retrieval::ranking::BY_HEADS;
use crate::retrieval::texts::TextEncoder;
use past::Past;

/// Memory of a rank for queries and their lists.
const MEMORY: u64 = 1 << 30;

/// The folder of indices, beside the evaluations' files.
const INDICES: &str = "index";

/// A run's evaluations.
pub(super) struct Evaluations {
    section: EvalSection,
    /// The figure by which the best checkpoint is kept.
    keep_best: Option<String>,
    run_dir: PathBuf,
    last_step: u64,
    data: Vec<Dataset>,
    how: Evaluation,
    tokenizer: Rc<TextTokenizer>,
    precision: Precision,
    past: Past,
    /// Whether an evaluation was due at a step that made no update.
    overdue: bool,
}

/// The data sets of the recipe's `[eval]`, none without it; `remarks` get what is to be told of them. Every rank calls
/// it.
///
/// # Errors
/// On rank 0: a folder that is none, lacks a file, or has the name of another; what is wrong with its files. A rank
/// that is gone.
pub(super) fn read(recipe: &Recipe, remarks: &mut Vec<String>, ranks: &dyn Collective) -> anyhow::Result<Vec<Dataset>> {
    let EvalSection { data: folders, split, metrics, .. } = &recipe.eval;
    check_evaluation(recipe).map_err(CommandError::Usage)?;
    let mut data = Vec::new();
    for folder in folders {
        let own = Dataset::load(folder, split, metrics, ranks).context("the recipe's eval.data")?;
        remarks.extend(own.remarks.iter().map(|remark| format!("{} ([eval]): {remark}", own.name)));
        data.push(own);
    }
    Ok(data)
}

impl Evaluations {
    /// Evaluations of `model` on `data` in a run that has done `step` steps; none without data. Every rank calls it.
    ///
    /// # Errors
    /// The model has no tokenizer that texts can be read with; what an earlier part of the run has left cannot be read.
    pub fn new(
        recipe: &Recipe,
        data: Vec<Dataset>,
        model: &M3Model,
        step: u64,
        ranks: &dyn Collective,
    ) -> anyhow::Result<Option<Self>> {
        if data.is_empty() {
            return Ok(None);
        }
        let Some(tokenizer) = model.tokenizer_json() else {
            return Err(SetupError::NoTokenizer(model.tokenizer_folder().display().to_string()).into());
        };
        let tokenizer = Rc::new(TextTokenizer::load(tokenizer)?);
        let how = how(recipe, model);
        let mut judged_by = judged_by(&how, &data).into_bytes();
        // Only one rank has the judgments.
        broadcast_bytes(ranks, &mut judged_by, 0)?;
        let judged_by = String::from_utf8_lossy(&judged_by).into_owned();
        Ok(Some(Self {
            section: recipe.eval.clone(),
            keep_best: recipe.checkpoint.keep_best.clone(),
            run_dir: recipe.run_dir.clone(),
            last_step: recipe.steps,
            data,
            how,
            tokenizer,
            precision: recipe.precision,
            past: Past::open(&recipe.run_dir, step, judged_by, ranks)?,
            overdue: false,
        }))
    }

    /// The run goes on from the checkpoint of `step`, which is an earlier one. Every rank calls it.
    ///
    /// # Errors
    /// As [`Past::open`].
    pub fn goes_on_from(&mut self, step: u64, ranks: &dyn Collective) -> anyhow::Result<()> {
        self.overdue = false;
        self.past = self.past.reopen(&self.run_dir, step, ranks)?;
        Ok(())
    }

    /// Whether the model must be evaluated after `step` steps; `updated` tells whether the last of them made an update.
    /// It goes by the rule of checkpoints, as each evaluation has one.
    pub fn is_due(&mut self, step: u64, updated: bool) -> bool {
        let every_steps = self.section.every_steps;
        self.overdue |= every_steps > 0 && step.is_multiple_of(every_steps);
        let due = step == self.last_step || (self.overdue && updated);
        self.overdue &= !due;
        due
    }

    /// The evaluation of `step`, if there has been one.
    pub fn of(&self, step: u64) -> Option<&EvalRecord> {
        self.past.of(step)
    }

    /// The step of the best checkpoint of those that are there, if one is kept; only rank 0's counts.
    pub fn best(&self) -> Option<u64> {
        let is_there = |step: u64| checkpoint::directory(&self.run_dir, step).is_dir();
        self.past.best(&self.watched()?, is_there).map(|(step, _)| step)
    }

    /// Why no more steps are done, if that is so. It is the same on all ranks.
    pub fn end_early(&self) -> Option<String> {
        let watched = self.watched()?;
        let num = self.past.num_without_improvement(&watched);
        if self.section.early_stop == 0 || num < self.section.early_stop {
            return None;
        }
        let (step, value) = self.past.best(&watched, |_| true)?;
        let figure = self.keep_best.as_deref().unwrap_or_default();
        Some(format!("{num} evaluations have not bettered {figure} {value:.4} of step {step} (eval.early_stop)"))
    }

    /// The recorded name of the figure that checkpoints are kept by.
    fn watched(&self) -> Option<String> {
        self.keep_best.as_ref().map(|figure| format!("{}{figure}", EvalRecord::BEGINNING))
    }

    /// Evaluates `model` after `step` steps and records what is found. Stops in the middle, and tells so by false, when
    /// a rank is asked to stop. Every rank calls it.
    ///
    /// # Errors
    /// A data set has changed since the run began; representations that are no numbers; a file that cannot be written;
    /// a rank that is gone.
    pub fn evaluate(
        &mut self,
        model: &M3Model,
        limit: SubBatchLimit,
        step: u64,
        recorder: &mut Recorder,
        ranks: &dyn Collective,
    ) -> anyhow::Result<bool> {
        let started = Instant::now();
        let encoder = TextEncoder::of_live(model, self.tokenizer.clone(), limit, self.precision);
        let indices = past::folder(&self.run_dir).join(INDICES);
        let mut figures = BTreeMap::new();
        for data in &self.data {
            // One that was killed may have left some.
            remove_indices(&indices, recorder, ranks)?;
            if any_rank(ranks, stop::asked())? {
                return Ok(false);
            }
            let found = evaluate(&encoder, data, &self.how, &indices, None, ranks)
                .with_context(|| format!("evaluating {} after step {step}", data.name))?;
            for own in found.into_iter().flatten() {
                let ranking = own.ranking.name();
                let named = self.how.metrics.iter().zip(&own.means);
                figures.extend(
                    named.map(|(metric, mean)| ((data.name.clone(), ranking.clone(), metric.to_string()), *mean)),
                );
            }
        }
        remove_indices(&indices, recorder, ranks)?;
        let record = self.record(step, figures, started.elapsed().as_secs_f64(), recorder, ranks)?;
        let first = self.how.metrics.first().map(ToString::to_string).unwrap_or_default();
        let shown = self.keep_best.clone().unwrap_or_else(|| format!("{}/dense/{first}", EvalSection::MEAN));
        // The file is what a run that goes on looks for, so it comes first.
        self.past.add(record.clone(), ranks)?;
        let best = self.watched().and_then(|name| self.past.best(&name, |_| true));
        recorder.evaluated(&record, &shown, best.is_some_and(|(best, _)| best == step))?;
        Ok(true)
    }

    /// Rank 0's figures and seconds, on all ranks, with the means over data sets.
    fn record(
        &self,
        step: u64,
        figures: BTreeMap<(String, String, String), f64>,
        eval_secs: f64,
        recorder: &Recorder,
        ranks: &dyn Collective,
    ) -> anyhow::Result<EvalRecord> {
        let mut sums = HashMap::<(&str, &str), f64>::new();
        let mut named = BTreeMap::new();
        for ((dataset, ranking, metric), figure) in &figures {
            named.insert(EvalRecord::name_of(dataset, ranking, metric), *figure);
            *sums.entry((ranking, metric)).or_default() += figure;
        }
        let mean = |((ranking, metric), sum): ((&str, &str), f64)| {
            (EvalRecord::name_of(EvalSection::MEAN, ranking, metric), sum / self.data.len() as f64)
        };
        named.extend(sums.into_iter().map(mean));
        let eval_secs_so_far = self.past.secs_before(step) + eval_secs;
        let eval_share = recorder.share_of(eval_secs_so_far);
        let mut bytes =
            serde_json::to_vec(&EvalRecord { step, eval_secs, eval_secs_so_far, eval_share, figures: named })?;
        broadcast_bytes(ranks, &mut bytes, 0)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// How data sets are evaluated.
fn how(recipe: &Recipe, model: &M3Model) -> Evaluation {
    let EvalSection { metrics, query_max_len, passage_max_len, .. } = &recipe.eval;
    let trained = EvalSection::rankings(recipe.loss.preset);
    let [query_prompt, passage_prompt] = prefixes::over(&Prefixes::default(), &model.prompts);
    let or = |len: usize, of_data: usize| if len == 0 { of_data } else { len };
    let deepest = metrics.iter().map(|metric| metric.at).max().unwrap_or(0);
    let lists = Lists::default();
    Evaluation {
        rankings: BY_HEADS.into_iter().filter(|ranking| trained.contains(&ranking.name().as_str())).collect(),
        lists: Lists { top: lists.top.max(deepest), rerank: lists.rerank.max(deepest), ..lists },
        metrics: metrics.clone(),
        query_prompt,
        query_max_len: or(*query_max_len, recipe.data.query_max_len),
        passage_prompt,
        passage_max_len: or(*passage_max_len, recipe.data.passage_max_len),
        stored: Stored::Fp32,
        keep_identical_ids: false,
        memory: MEMORY,
    }
}

/// A checksum of all that figures depend on besides the model, as rank 0 knows it.
fn judged_by(how: &Evaluation, data: &[Dataset]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| _ = hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    add(&format!("{how:?}"));
    for Dataset { name, survey, queries, qrels, answers, .. } in data {
        [name, &survey.corpus.blake3, &format!("{answers:?}")].into_iter().for_each(|text| add(text));
        for judged::Query { id, text } in queries {
            let judged: BTreeMap<&String, &i64> = qrels.get(id).into_iter().flatten().collect();
            [id, text, &format!("{judged:?}")].into_iter().for_each(|text| add(text));
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Removes the folder of indices, which nobody uses any more. Every rank calls it.
fn remove_indices(folder: &std::path::Path, recorder: &Recorder, ranks: &dyn Collective) -> anyhow::Result<()> {
    ranks.barrier()?;
    if ranks.rank() == 0
        && folder.exists()
        && let Err(error) = fs::remove_dir_all(folder)
    {
        // It takes room and does no harm: an index is found by what it is of.
        recorder.warn(&format!("{}: cannot be removed: {error}", folder.display()));
    }
    Ok(())
}
