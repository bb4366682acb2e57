//! `bench`: a recipe's own steps, timed phase by phase, beside the machine's matrix products.
//!
//! The steps are those that training does, with what the ranks tell each other for the record; nothing is written down or
//! saved.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use tercet_cluster::{Collective, Counted, ReduceOp};
use tercet_configs::{MatmulLibrary, Recipe, Teacher};
use tercet_sampler::Prefetcher;

use super::TaskError;
use super::measure::load;
use crate::machine::cpu_time::cpu_secs;
use crate::machine::device::device_of;
use crate::machine::memory::resident_bytes;
use crate::machine::phase::{self, Phase, PhaseSecs, during};
use crate::record::figures::share_figures;
use crate::record::recorder::StepRecord;
use crate::run::budget;
use crate::run::matmul::{self, Needs};
use crate::run::{agree_on_recipe, check_same_tokenizer, compute_kind_of, plan};
use crate::step::settings::{StepSettings, Trainee};
use crate::step::train_step;
use crate::step::update::AdamW;
use crate::tensors::libtorch::product;

/// Number of products; the machine's peak is the best of them.
const PRODUCTS: usize = 8;

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
pub fn run(args: &BenchArgs, ranks: &Counted) -> anyhow::Result<()> {
    let recipe = Recipe::load(&args.recipe, &args.settings)?;
    let until = last_step(args, &recipe)? + 1;
    agree_on_recipe(&recipe, ranks)?;
    let plan = Arc::new(plan(&recipe, ranks)?);
    let mut model = load(&recipe, ranks)?;
    check_same_tokenizer(&model, plan.store(), &recipe.data.store)?;
    model.check_lengths(plan.longest_text(), i64::from(plan.store().max_token_id()))?;
    model.enable_gradients(compute_kind_of(recipe.precision));
    matmul::choose(&mut model, recipe.cpu_matmul, None, Needs::Training, ranks)?;
    let mut optimizer = AdamW::new(&model.parameters);
    if recipe.optimizer.shard_state {
        optimizer = optimizer.shard(ranks, &model.parameters);
    }
    let mut settings = StepSettings::of(&recipe);
    budget::fit(&model, ranks, &plan, &recipe, &mut settings)?;
    let (trainee, with_teacher) =
        (Trainee { model: &model, settings: &settings }, recipe.loss.teacher != Teacher::None);
    let mut batches = Prefetcher::start(plan, ranks.rank(), ranks.world_size(), args.from..until)?;

    phase::wait_for_device(device_of(ranks));
    let peaks = || product_flops_per_sec(compute_kind_of(recipe.precision), model.options().1, model.dims().0);
    let peaks_before = peaks();
    let mut steps = Vec::new();
    for step in args.from..until {
        ranks.barrier()?;
        phase::take();
        let (started, cpu_started) = (Instant::now(), cpu_secs());
        let Some(batch) = during(Phase::Input, || batches.next().transpose())? else { break };
        let mut record = StepRecord::of(&batch, batches.wait_secs());
        let stepped = train_step(&trainee, &mut optimizer, ranks, &batch.share, || false)?;
        share_figures(ranks, &batch.share, &stepped, with_teacher, started, &mut record)?;
        let secs = started.elapsed().as_secs_f64();
        let cpu_secs = cpu_secs() - cpu_started;
        let squares: f64 = batch.share.texts.iter().map(|text| (text.ids.len() as f64).powi(2)).sum();
        let tokens = [stepped.outcome.num_tokens as f64, stepped.outcome.num_padded_tokens as f64, squares];
        let report = report(ranks, [secs, cpu_secs], &phase::take(), tokens)?;
        if step > args.from {
            steps.push(report);
        }
    }
    let mut maxima = resident_bytes().map(|bytes| bytes as f64);
    ranks.all_reduce(maxima.as_mut_slice().into(), ReduceOp::Max)?;
    // Other work may have held up the first products.
    ranks.barrier()?;
    let peaks = peaks();
    let mut rates = [0, 1].map(|i| peaks[i].max(peaks_before[i]));
    ranks.all_reduce(rates.as_mut_slice().into(), ReduceOp::Sum)?;
    if ranks.rank() == 0 {
        println!(
            "{}",
            json!({
                "world_size": ranks.world_size(),
                "threads": tch::get_num_threads(),
                "precision": recipe.precision,
                "cpu_matmul": model.parameters.matmul,
                "product_flops_per_sec": rates[0].max(rates[1]) / ranks.world_size() as f64,
                "libtorch_product_flops_per_sec": rates[1] / ranks.world_size() as f64,
                "steps": steps,
                "peak_rss_bytes": maxima[1],
            })
        );
    }
    Ok(())
}

/// The last step to time: the recipe's last one at most.
fn last_step(args: &BenchArgs, recipe: &Recipe) -> Result<u64, TaskError> {
    let last = args.from.saturating_add(args.steps).min(recipe.steps.saturating_sub(1));
    if last > args.from {
        return Ok(last);
    }
    Err(TaskError::Usage(format!(
        "the recipe's {} steps leave none to time after step {}, which is not timed: raise steps, or lower --from",
        recipe.steps, args.from
    )))
}

/// One step's figures: the ranks' mean seconds by phase, in all and of processors, and all ranks' tokens. Every rank calls it.
fn report(ranks: &dyn Collective, secs: [f64; 2], phases: &PhaseSecs, tokens: [f64; 3]) -> anyhow::Result<Value> {
    let mut all: Vec<f64> = phases.0.iter().copied().chain(secs).chain(tokens).collect();
    ranks.all_reduce(all.as_mut_slice().into(), ReduceOp::Sum)?;
    let num_phases = phases.0.len();
    let means: Vec<f64> = all[..num_phases + 2].iter().map(|sum| sum / ranks.world_size() as f64).collect();
    let mut mean_phases = PhaseSecs::default();
    mean_phases.0.copy_from_slice(&means[..num_phases]);
    Ok(json!({
        "step_secs": means[num_phases],
        "cpu_secs": means[num_phases + 1],
        "phase_secs": mean_phases,
        "tokens": all[num_phases + 2],
        "padded_tokens": all[num_phases + 3],
        "squares": all[num_phases + 4],
    }))
}

/// The best rates of large products in `kind`, on this rank's threads, as oneDNN does them and as libtorch's `matmul`: of a
/// cube, and of the shape of the encoder's widest map.
fn product_flops_per_sec(kind: Kind, device: Device, d: i64) -> [f64; 2] {
    // What it takes to start a product and wait for it must not count.
    let cube = if device.is_cuda() { 8192 } else { 2048 };
    let mut best = [0.0f64; 2];
    for [m, k, n] in [[cube; 3], [4096, d, 4 * d]] {
        let (left, right) = (Tensor::randn([m, k], (kind, device)), Tensor::randn([n, k], (kind, device)));
        let ways: [fn(&Tensor, &Tensor) -> Tensor; 2] =
            [|left, right| product(MatmulLibrary::Onednn, left, right), |left, right| left.matmul(right)];
        for (best, way) in best.iter_mut().zip(ways) {
            for _ in 0..PRODUCTS {
                let started = Instant::now();
                let result = way(&left, &right.tr());
                let _ = result.get(0).get(0).to_kind(Kind::Double).double_value(&[]);
                *best = best.max(2.0 * (m * k * n) as f64 / started.elapsed().as_secs_f64());
            }
        }
    }
    best
}
