//! `train`: repeats steps, records them, keeps checkpoints.

mod log;
mod recorder;
mod setup;
mod tensorboard;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use tercet_cluster::{Collective, Counted, ReduceOp, Traffic};
use tercet_configs::Recipe;
use tercet_sampler::Prefetcher;

use crate::checkpoint::{self, TrainState};
use crate::optimizer::{clip_grad_norm, learning_rate};
use crate::step::{StepOutcome, StepSettings, compute_gradients};
pub use recorder::resident_bytes;
use recorder::{Recorder, StepRecord};
use setup::Run;
pub use setup::{NotFinite, SetupError, compute_kind_of, kind_of};
pub(crate) use setup::{agree_on_recipe, check_same_tokenizer, plan};

/// Arguments of `tercet-worker train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// Overrides a recipe's key, e.g. loss.temperature=0.05
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Goes on from the run folder's newest good checkpoint, if it has one
    #[arg(long)]
    pub resume: bool,
    /// Writes one JSON object per event to standard output (rank 0)
    #[arg(long)]
    pub events: bool,
}

/// Trains as the recipe says. Every rank calls it.
///
/// # Errors
/// Whatever ends the run; the error chain says on what.
pub fn run(args: &TrainArgs, ranks: &Counted) -> anyhow::Result<()> {
    let recipe = Recipe::load(&args.recipe, &args.settings)?;
    let Run { mut model, mut optimizer, plan, first_step, mut recorder } =
        setup::set_up(&recipe, args.resume, args.events, ranks)?;
    model.enable_gradients(compute_kind_of(recipe.precision));
    let settings = StepSettings::of(&recipe);
    let state = |step| TrainState {
        step,
        recipe_hash: recipe.hash(),
        plan_checksum: plan.as_ref().map_or(0, |plan| plan.checksum(step)),
    };

    if let Some(plan) = &plan {
        let mut batches = Prefetcher::start(plan.clone(), ranks.rank(), ranks.world_size(), first_step..recipe.steps)
            .context("starting the prefetch thread")?;
        for step in first_step..recipe.steps {
            let started = Instant::now();
            let batch = batches.next().context("the plan ended early")??;
            let mut record = StepRecord::of(&batch, batches.wait_secs());
            ranks.take_traffic();
            let outcome = compute_gradients(&model, ranks, &settings, &batch.into())
                .with_context(|| format!("step {}", step + 1))?;
            let traffic = ranks.take_traffic();
            record.grad_norm = clip_grad_norm(&model.parameters, recipe.optimizer.max_grad_norm);
            record.learning_rate = learning_rate(&recipe.optimizer, step, recipe.steps);
            check_finite(&outcome, &record)?;
            optimizer.update(&model.parameters, &recipe.optimizer, record.learning_rate);
            share_figures(ranks, &outcome, traffic, &mut record, started)?;
            recorder.step(record)?;

            let done = step + 1;
            let due = recipe.checkpoint.every_steps > 0 && done.is_multiple_of(recipe.checkpoint.every_steps);
            if due || done == recipe.steps {
                save(ranks, &recipe, &model, &optimizer, &state(done), &mut recorder)?;
            }
        }
    } else {
        save(ranks, &recipe, &model, &optimizer, &state(0), &mut recorder)?;
    }
    recorder.end(recipe.steps)
}

/// A loss or gradient that is not finite would ruin the weights: all ranks see the same numbers and all stop here.
fn check_finite(outcome: &StepOutcome, record: &StepRecord) -> anyhow::Result<()> {
    if outcome.loss.is_finite() && record.grad_norm.is_finite() {
        return Ok(());
    }
    Err(setup::NotFinite {
        step: record.step,
        loss: outcome.loss,
        grad_norm: record.grad_norm,
        dataset: record.dataset.clone(),
    }
    .into())
}

/// Fills in what needs all ranks' figures. Every rank calls it.
fn share_figures(
    ranks: &dyn Collective,
    outcome: &StepOutcome,
    traffic: Traffic,
    record: &mut StepRecord,
    started: Instant,
) -> anyhow::Result<()> {
    let counts = [outcome.num_tokens, outcome.num_padded_tokens, outcome.num_false_negatives];
    let bytes = [traffic.all_reduce_bytes, traffic.ring_bytes, traffic.gather_bytes];
    let mut sums = [0.0; 6];
    sums[..3].copy_from_slice(&counts.map(|count| count as f64));
    sums[3..].copy_from_slice(&bytes.map(|bytes| bytes as f64 / ranks.world_size() as f64));
    ranks.all_reduce(sums.as_mut_slice().into(), ReduceOp::Sum)?;
    let [resident, peak] = recorder::resident_bytes().map(|bytes| bytes as f64);
    let mut maxima = [resident, peak, record.wait_secs, started.elapsed().as_secs_f64()];
    ranks.all_reduce(maxima.as_mut_slice().into(), ReduceOp::Max)?;
    record.loss = outcome.loss;
    record.terms = outcome.terms.clone();
    (record.wait_secs, record.step_secs) = (maxima[2], maxima[3]);
    record.wait_share = record.wait_secs / record.step_secs.max(f64::MIN_POSITIVE);
    record.tokens = sums[0] as u64;
    record.tokens_per_sec = sums[0] / record.step_secs;
    record.padding_share = 1.0 - sums[0] / sums[1];
    record.false_negatives = sums[2] as u64;
    [record.all_reduce_bytes, record.ring_bytes, record.gather_bytes] =
        [sums[3], sums[4], sums[5]].map(|bytes| bytes.round() as u64);
    (record.rss_bytes, record.peak_rss_bytes) = (maxima[0] as u64, maxima[1] as u64);
    Ok(())
}

/// Rank 0 writes; the others wait, so that no rank runs ahead of a checkpoint that then fails. Every rank calls it.
fn save(
    ranks: &dyn Collective,
    recipe: &Recipe,
    model: &crate::model::M3Model,
    optimizer: &crate::optimizer::AdamW,
    state: &TrainState,
    recorder: &mut Recorder,
) -> anyhow::Result<()> {
    if ranks.rank() == 0 {
        let path = checkpoint::write(&recipe.run_dir, recipe, model, optimizer, state)?;
        checkpoint::remove_old(&recipe.run_dir, recipe.checkpoint.keep)?;
        recorder.checkpoint(&path, state.step)?;
    }
    ranks.barrier()?;
    Ok(())
}
