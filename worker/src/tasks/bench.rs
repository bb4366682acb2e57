//! `bench`: a recipe's own steps, timed phase by phase, beside the machine's matrix products.
//!
//! The steps are those that training would do, updates included; nothing is recorded or saved.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, ReduceOp};
use tercet_configs::Recipe;
use tercet_sampler::{Plan, Prefetcher, Store};

use super::measure::load;
use crate::meter::resident_bytes;
use crate::optimizer::{AdamW, clip_grad_norm, learning_rate};
use crate::phase::{self, Phase, PhaseSecs, during};
use crate::step::{StepBatch, StepSettings, compute_gradients};
use crate::train::compute_kind_of;

/// The machine's peak is the best of so many products.
const PRODUCTS: usize = 12;

/// Arguments of `tercet-worker bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// Overrides a recipe's key, e.g. sub_batch_tokens=4096
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// Steps that are timed, after one that is not
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub steps: u64,
    /// The plan's step to begin with
    #[arg(long, value_name = "STEP", default_value_t = 0)]
    pub from: u64,
}

/// Times the steps and prints one JSON object (rank 0). Every rank calls it.
///
/// # Errors
/// A recipe that cannot be trained, or a collective that failed.
pub fn run(args: &BenchArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let recipe = Recipe::load(&args.recipe, &args.settings)?;
    let mut model = load(&recipe, ranks)?;
    model.enable_gradients(compute_kind_of(recipe.precision));
    let mut optimizer = AdamW::new(&model.parameters);
    if recipe.optimizer.shard_state {
        optimizer = optimizer.shard(ranks, &model.parameters);
    }
    let store = Arc::new(Store::open(&recipe.data.store)?);
    let plan = Arc::new(Plan::new(store, &recipe)?);
    plan.check_world(ranks.world_size())?;
    model.check_lengths(plan.longest_text(), i64::from(plan.store().max_token_id()))?;
    let settings = StepSettings::of(&recipe);
    let until = (args.from + args.steps + 1).min(recipe.steps.max(args.from + 1));
    let mut batches = Prefetcher::start(plan, ranks.rank(), ranks.world_size(), args.from..until)?;

    phase::wait_for_device();
    let peak = product_flops_per_sec(compute_kind_of(recipe.precision), model.options().1, model.dims().0);
    let mut steps = Vec::new();
    for step in args.from..until {
        ranks.barrier()?;
        phase::take();
        let started = Instant::now();
        let Some(batch) = during(Phase::Input, || batches.next().transpose())? else { break };
        let batch = StepBatch::from(batch);
        let squares: f64 = batch.texts.iter().map(|text| (text.ids.len() as f64).powi(2)).sum();
        let outcome = compute_gradients(&model, ranks, &settings, &batch)?;
        during(Phase::Optimizer, || {
            let rate = learning_rate(&recipe.optimizer, step, recipe.steps);
            clip_grad_norm(ranks, &model.parameters, &recipe.optimizer)?;
            optimizer.update(ranks, &model.parameters, &recipe.optimizer, rate)
        })?;
        let secs = started.elapsed().as_secs_f64();
        let tokens = [outcome.num_tokens as f64, outcome.num_padded_tokens as f64, squares];
        let report = report(ranks, secs, &phase::take(), tokens)?;
        if step > args.from {
            steps.push(report);
        }
    }
    let mut maxima = resident_bytes().map(|bytes| bytes as f64);
    ranks.all_reduce(maxima.as_mut_slice().into(), ReduceOp::Max)?;
    let mut rates = [peak];
    ranks.all_reduce(rates.as_mut_slice().into(), ReduceOp::Sum)?;
    if ranks.rank() == 0 {
        println!(
            "{}",
            json!({
                "world_size": ranks.world_size(),
                "threads": tch::get_num_threads(),
                "precision": recipe.precision,
                "product_flops_per_sec": rates[0] / ranks.world_size() as f64,
                "steps": steps,
                "peak_rss_bytes": maxima[1],
            })
        );
    }
    Ok(())
}

/// One step's figures: the ranks' mean seconds by phase and in all, and all ranks' tokens. Every rank calls it.
fn report(ranks: &dyn Collective, secs: f64, phases: &PhaseSecs, tokens: [f64; 3]) -> anyhow::Result<Value> {
    let mut all: Vec<f64> = phases.0.iter().copied().chain([secs]).chain(tokens).collect();
    ranks.all_reduce(all.as_mut_slice().into(), ReduceOp::Sum)?;
    let num_phases = phases.0.len();
    let means: Vec<f64> = all[..=num_phases].iter().map(|sum| sum / ranks.world_size() as f64).collect();
    let mut mean_phases = PhaseSecs::default();
    mean_phases.0.copy_from_slice(&means[..num_phases]);
    Ok(json!({
        "step_secs": means[num_phases],
        "phase_secs": mean_phases,
        "tokens": all[num_phases + 1],
        "padded_tokens": all[num_phases + 2],
        "squares": all[num_phases + 3],
    }))
}

/// The best rate of large products in `kind`, on this rank's threads: a cube, and the shape of the encoder's widest map.
fn product_flops_per_sec(kind: Kind, device: Device, d: i64) -> f64 {
    let shapes = [[2048, 2048, 2048], [4096, d, 4 * d]];
    let rates = shapes.iter().flat_map(|&[m, k, n]| {
        let (left, right) = (Tensor::randn([m, k], (kind, device)), Tensor::randn([n, k], (kind, device)));
        (0..PRODUCTS).map(move |_| {
            let started = Instant::now();
            let product = left.matmul(&right.tr());
            let _ = product.get(0).get(0).to_kind(Kind::Double).double_value(&[]);
            2.0 * (m * k * n) as f64 / started.elapsed().as_secs_f64()
        })
    });
    rates.fold(0.0, f64::max)
}
