//! Before the first step: the run folder, the model, the plan, and that all of it fits together on all ranks.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tercet_cluster::{Collective, all_ranks, broadcast_bytes};
use tercet_configs::{Origin, Prompts, Recipe};
use tercet_protocol::args::{RankTrainArgs, TrainArgs};
use tercet_protocol::says::EvalRecord;
use tercet_sampler::{Plan, Store, agreed_prefixes, write_durably};

use super::error::SetupError;
use super::evaluation;
use super::lock::RunLock;
use super::words;
use crate::agreement::{compute_kind_of, kind_of, same_weights};
use crate::checkpoint::{self, Progress, Resumed, TrainState};
use crate::machine::cores;
use crate::machine::device::device_of;
use crate::model::{M3Model, ModelOptions, Parameters, Purpose};
use crate::ops::matmul::Measured;
use crate::record::log;
use crate::record::recorder::Recorder;
use crate::retrieval::judged::Dataset;
use crate::step::update::AdamW;

/// A run that is ready for its next step.
pub(super) struct Run {
    pub model: M3Model,
    pub optimizer: AdamW,
    /// None when the recipe has no step to do: its checkpoint is then the starting point.
    pub plan: Option<Arc<Plan>>,
    /// How far it is.
    pub progress: Progress,
    /// It goes on from a checkpoint.
    pub is_resumed: bool,
    pub recorder: Recorder,
    /// What it is judged by while it lasts.
    pub datasets: Vec<Dataset>,
    /// What multiplies matrices, where it was measured.
    pub matmul: Option<Measured>,
    /// Rank 0's, held until the run ends.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub lock: Option<RunLock>,
}

/// What a run goes on from.
struct Start {
    model: M3Model,
    optimizer: AdamW,
    /// The checkpoint, and how far it is.
    resumed: Option<(PathBuf, TrainState)>,
}

/// Loads and checks everything; `remarks` are told beside the plan's warnings. Every rank calls it.
pub(super) fn set_up(
    recipe: &Recipe,
    args: &RankTrainArgs,
    mut remarks: Vec<String>,
    ranks: &dyn Collective,
) -> anyhow::Result<Run> {
    let &RankTrainArgs { what: TrainArgs { resume, .. }, events, lock_wait_secs } = args;
    let run_dir = &recipe.run_dir;
    if run_dir.as_os_str().is_empty() {
        return Err(SetupError::NoRunDir.into());
    }
    agree_on_recipe(recipe, ranks)?;
    let mut lock = None;
    if ranks.rank() == 0 {
        fs::create_dir_all(run_dir).with_context(|| format!("creating {}", run_dir.display()))?;
        lock = Some(RunLock::take(run_dir, ranks.host(), Duration::from_secs(lock_wait_secs))?);
    }
    // A run that ended before its first checkpoint has left its history.
    let has_history = run_dir.join("metrics.jsonl").metadata().is_ok_and(|file| file.len() > 0);
    if !resume && (has_history || checkpoint::has_checkpoints(run_dir)) {
        return Err(SetupError::RunExists(run_dir.display().to_string()).into());
    }
    if ranks.rank() == 0 {
        log::init(run_dir, events)?;
        tracing::info!("{} rank(s): {}", ranks.world_size(), ranks.description());
        tracing::info!("rank 0: {} thread(s) on cores {}", tch::get_num_threads(), cores::own());
        tracing::info!("the encoder computes in {}", recipe.precision.name());
    }

    let datasets = evaluation::read(recipe, &mut remarks, ranks)?;
    let plan = if recipe.steps > 0 { Some(Arc::new(plan(recipe, ranks)?)) } else { None };
    let Start { mut model, optimizer, resumed } = weights(recipe, resume, ranks, &mut remarks)?;
    remarks.extend(model.slow_attention(compute_kind_of(recipe.precision)).map(str::to_owned));
    if let Some(plan) = &plan {
        let prefixes = agreed_prefixes(plan.store(), &recipe.data);
        let prompts = prefixes.map(|(query, passage)| Prompts::of_prefixes(query, passage));
        model.trains_on(prompts, plan.longest_text());
        check_same_tokenizer(&model, plan.store(), &recipe.data.store)?;
        model.check_lengths(plan.longest_text(), i64::from(plan.store().max_token_id()))?;
        if resumed.is_none() && model.predicts_words_afresh() {
            let datasets = plan.sources().iter().flat_map(|source| source.datasets.iter().copied());
            model.expect_words(&words::counts(plan.store(), datasets, model.config.vocab_size)?);
            same_weights::check(ranks, &model.parameters.flat, "with the words' shares")?;
        }
    }
    if let Some((path, state)) = &resumed {
        check_same_run(path, recipe, plan.as_deref(), state)?;
    }
    let is_resumed = resumed.is_some();
    if ranks.rank() == 0 && !is_resumed {
        remarks.extend(lost_history(run_dir));
    }
    let (progress, matmul) = resumed.map_or_else(Default::default, |(_, state)| {
        (state.progress, state.cpu_matmul.or_else(|| Some(Measured::before_there_was_a_choice())))
    });
    remarks.extend(of_another_task(lock.as_ref(), recipe, progress.step)?);

    if ranks.rank() == 0 {
        let path = run_dir.join("recipe.toml");
        write_durably(&path, recipe.to_toml().as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    ranks.barrier()?;
    remarks.append(&mut model.remarks);
    remarks.extend(recipe.optimizer.remark_on_rate());
    remarks.extend_from_slice(plan.as_ref().map_or(&[][..], |plan| plan.warnings()));
    let recorder = Recorder::start(recipe, ranks, progress.step, &remarks, events)?;
    for name in &model.fresh {
        tracing::debug!("{name} starts fresh");
    }
    Ok(Run { model, optimizer, plan, progress, is_resumed, recorder, datasets, matmul, lock })
}

/// What is to be said of a history that no checkpoint goes with: the run begins anew.
fn lost_history(run_dir: &Path) -> Option<String> {
    let history = File::open(run_dir.join("metrics.jsonl")).ok()?;
    let is_step = |line: &Vec<u8>| serde_json::from_slice(line).is_ok_and(|line| !EvalRecord::is_one(&line));
    let num_steps = BufReader::new(history).split(b'\n').map_while(Result::ok).filter(is_step).count();
    let run_dir = run_dir.display();
    (num_steps > 0).then(|| {
        format!("no checkpoint in {run_dir}: the run begins anew, and its history of {num_steps} steps is written over")
    })
}

/// What is to be said of a run that another task of this process's job array has begun.
fn of_another_task(lock: Option<&RunLock>, recipe: &Recipe, step: u64) -> Result<Option<String>, SetupError> {
    let Some(task) = lock.and_then(|lock| lock.begun_by_task.clone()) else { return Ok(None) };
    let run_dir = recipe.run_dir.display().to_string();
    if recipe.steps > 0 && step >= recipe.steps {
        return Err(SetupError::OtherTask { run_dir, task });
    }
    Ok(Some(format!(
        "{run_dir} holds the run of task {task} of this job array: this task goes on with it, and has no run of its own"
    )))
}

pub(crate) fn plan(recipe: &Recipe, ranks: &dyn Collective) -> anyhow::Result<Plan> {
    let plan = Plan::open(recipe)?;
    plan.check_world(ranks.world_size())?;
    agree(ranks, plan.checksum(recipe.steps).to_le_bytes().to_vec(), "token store")?;
    Ok(plan)
}

pub(crate) fn agree_on_recipe(recipe: &Recipe, ranks: &dyn Collective) -> anyhow::Result<()> {
    agree(ranks, recipe.hash().into_bytes(), "recipe")
}

/// Whether every rank's `own` is rank 0's. Every rank calls it.
fn agree(ranks: &dyn Collective, own: Vec<u8>, what: &'static str) -> anyhow::Result<()> {
    let mut first = own.clone();
    broadcast_bytes(ranks, &mut first, 0)?;
    let same = first == own;
    // All ranks learn of it, so that none goes on into a collective that the odd one never enters.
    if !all_ranks(ranks, same)? && !same {
        return Err(SetupError::RanksDiffer(what).into());
    }
    Ok(())
}

/// From the newest good checkpoint when resuming, else from the recipe's `[model]`. Every rank calls it.
fn weights(recipe: &Recipe, resume: bool, ranks: &dyn Collective, remarks: &mut Vec<String>) -> anyhow::Result<Start> {
    if resume && let Some((path, Resumed { model, optimizer, state })) = load_newest(recipe, ranks, remarks)? {
        return Ok(Start { model, optimizer, resumed: Some((path, state)) });
    }
    let model = model_of(recipe, ranks)?;
    let optimizer = AdamW::of(&recipe.optimizer, &model.parameters, ranks);
    Ok(Start { model, optimizer, resumed: None })
}

/// The model that the recipe's `[model]` names, on this rank's device. Every rank calls it.
///
/// # Errors
/// It names none, or one that cannot be loaded; ranks have loaded different ones.
pub(crate) fn model_of(recipe: &Recipe, ranks: &dyn Collective) -> anyhow::Result<M3Model> {
    let options = ModelOptions::of(recipe);
    let (device, kind) = (device_of(ranks), kind_of(recipe.precision));
    let model = match recipe.model.origin()? {
        Origin::Folder(dir) => M3Model::load(dir, &options, device, kind)?,
        Origin::Config(config) => M3Model::fresh(config, &options, device, kind)?,
    };
    same_weights::check(ranks, &model.parameters.flat, "as they were loaded")?;
    if model.purpose() != Purpose::Retrieval && model.special.mask.is_none() {
        return Err(SetupError::NoMask(model.tokenizer_folder().display().to_string()).into());
    }
    Ok(model)
}

/// The newest good checkpoint, if there is any, as rank 0 sees it: one rank reads all of them and all take the same.
/// What rank 0 passes over goes to its `remarks`. Every rank calls it.
fn newest_good(recipe: &Recipe, ranks: &dyn Collective, remarks: &mut Vec<String>) -> anyhow::Result<Option<PathBuf>> {
    let mut name = Vec::new();
    if ranks.rank() == 0 {
        let (newest, refused) = checkpoint::newest_good(&recipe.run_dir);
        let passed_over = refused.iter().map(|reason| format!("{reason}; trying the one before"));
        match newest {
            Some(_) => remarks.extend(passed_over),
            // Nothing goes on that could tell it.
            None => passed_over.for_each(|text| tracing::warn!("{text}")),
        }
        match (newest, refused.into_iter().next()) {
            (Some(path), _) => name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec(),
            // To begin anew here would bury what may still be saved.
            (None, Some(reason)) => {
                let dir = recipe.run_dir.display();
                let none = format!("no checkpoint of {dir} can be used; move them away to begin anew");
                return Err(anyhow::Error::from(reason).context(none));
            }
            (None, None) => {}
        }
    }
    broadcast_bytes(ranks, &mut name, 0)?;
    Ok((!name.is_empty()).then(|| recipe.run_dir.join(String::from_utf8_lossy(&name).as_ref())))
}

/// Puts the newest good checkpoint, if there is any, into `model` and `optimizer`, whose memory stays where it is; rank
/// 0's `remarks` get what is to be told of others. Every rank calls it.
///
/// # Errors
/// As [`load_newest`].
pub(super) fn reload_newest(
    recipe: &Recipe,
    ranks: &dyn Collective,
    (model, optimizer): (&mut M3Model, &mut AdamW),
    remarks: &mut Vec<String>,
) -> anyhow::Result<Option<(PathBuf, TrainState)>> {
    let Some(path) = newest_good(recipe, ranks, remarks)? else { return Ok(None) };
    let state = checkpoint::reload(&path, model, optimizer)?;
    same_weights::check(ranks, &model.parameters.flat, format_args!("as {} has them", path.display()))?;
    Ok(Some((path, state)))
}

/// Loads the newest good checkpoint, if there is any; rank 0's `remarks` get what is to be told of others. Every rank
/// calls it.
///
/// # Errors
/// There are some, but none is good; or it cannot be loaded.
fn load_newest(
    recipe: &Recipe,
    ranks: &dyn Collective,
    remarks: &mut Vec<String>,
) -> anyhow::Result<Option<(PathBuf, Resumed)>> {
    let Some(path) = newest_good(recipe, ranks, remarks)? else { return Ok(None) };
    let options = ModelOptions::of(recipe);
    let (device, kind) = (device_of(ranks), kind_of(recipe.precision));
    let optimizer = |parameters: &Parameters| AdamW::of(&recipe.optimizer, parameters, ranks);
    let resumed = checkpoint::load(&path, &options, device, kind, optimizer)
        .inspect_err(|_| remarks.iter().for_each(|text| tracing::warn!("{text}")))?;
    same_weights::check(ranks, &resumed.model.parameters.flat, format_args!("as {} has them", path.display()))?;
    Ok(Some((path, resumed)))
}

/// The same token id must be the same token. A model without a tokenizer.json leaves nothing to compare.
pub(crate) fn check_same_tokenizer(model: &M3Model, store: &Store, store_dir: &Path) -> anyhow::Result<()> {
    let Some(path) = model.tokenizer_json() else { return Ok(()) };
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (hash, store_hash) = (blake3::hash(&bytes).to_hex().to_string(), &store.manifest().tokenizer_hash);
    if hash == *store_hash {
        return Ok(());
    }
    let (store, tokenizer) = (store_dir.display().to_string(), path.display().to_string());
    Err(SetupError::OtherTokenizer { store, store_hash: store_hash.clone(), tokenizer, hash }.into())
}

/// Resuming continues the same computation: whatever changes its numbers must be as it was. The data may change from
/// the checkpoint's step on.
fn check_same_run(path: &Path, recipe: &Recipe, plan: Option<&Plan>, state: &TrainState) -> anyhow::Result<()> {
    let before = Recipe::load(&path.join("train/recipe.toml"), &[])?;
    // Left open where the folder that says it is gone; the checkpoint's own model has it.
    let is_open = |key: &String| key == "model.pooling" && recipe.model.pooling.is_none();
    let keys = recipe.differing_keys(&before).into_iter().filter(|key| !is_open(key));
    let (data, others): (Vec<String>, Vec<String>) = keys.partition(|key| key.starts_with("data."));
    let path = path.display().to_string();
    if !others.is_empty() {
        return Err(SetupError::OtherRecipe { path, keys: others.join(", ") }.into());
    }
    if plan.is_some_and(|plan| plan.checksum(state.progress.step) != state.plan_checksum) {
        let differs = if data.is_empty() { "the token store is another".into() } else { data.join(", ") };
        return Err(SetupError::OtherPlan { path, step: state.progress.step, differs }.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_without_a_checkpoint_is_told_of_if_it_has_steps() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(lost_history(folder.path()), None);
        for (text, steps) in [
            ("", None),
            ("{\"step\":1,\"lo", None),
            ("{\"step\":1}\n{\"step\":2}\n{\"st", Some(2)),
            ("{\"step\":1}\n{\"step\":1,\"eval_secs\":1}\n", Some(1)),
        ] {
            fs::write(folder.path().join("metrics.jsonl"), text).unwrap();
            let told = lost_history(folder.path());
            assert_eq!(told.is_some(), steps.is_some(), "{told:?}");
            assert!(told.is_none_or(|told| told.contains(&format!("history of {} steps", steps.unwrap()))));
        }
    }
}
