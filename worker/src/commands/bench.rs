//! `bench`: a recipe's own steps, timed phase by phase, beside the machine's matrix products.
//!
//! The steps are those that training does, with what the ranks tell each other for the record; nothing is written down
//! or saved.

use std::sync::Arc;
use std::time::Instant;

use tercet_cluster::{Collective, Counted, ReduceOp};
use tercet_configs::{Recipe, Teacher};
use tercet_protocol::args::BenchArgs;
use tercet_protocol::says::{self, bench};
use tercet_sampler::{Prefetcher, Share, SpecialTokens};

use super::peak::{product_flops_per_sec, ranks_mean};
use crate::agreement::matmul::{self, Needs};
use crate::agreement::{compute_kind_of, precision};
use crate::files::CommandError;
use crate::machine::cpu_time::cpu_secs;
use crate::machine::memory::resident_bytes;
use crate::machine::phase::{self, Phase, PhaseSecs, during};
use crate::record::figures::share_figures;
use crate::record::step_record;
use crate::run::budget;
use crate::run::{agree_on_recipe, check_same_tokenizer, model_of, plan};
use crate::step::outcome::{Outcome, Told};
use crate::step::settings::{StepSettings, Trainee};
use crate::step::train_step;
use crate::step::update::AdamW;

/// Times the steps and prints one JSON object (rank 0). Every rank calls it.
///
/// # Errors
/// A recipe that cannot be trained, or a collective that failed.
pub fn run(args: &BenchArgs, ranks: &Counted) -> anyhow::Result<()> {
    let mut recipe = args.recipe.load()?;
    precision::decide(&mut recipe, false, ranks)?;
    let until = last_step(args, &recipe)? + 1;
    agree_on_recipe(&recipe, ranks)?;
    let plan = Arc::new(plan(&recipe, ranks)?);
    let mut model = model_of(&recipe, ranks)?;
    check_same_tokenizer(&model, plan.store(), &recipe.data.store)?;
    model.check_lengths(plan.longest_text(), i64::from(plan.store().max_token_id()))?;
    model.enable_gradients(compute_kind_of(recipe.precision));
    matmul::choose(&mut model, recipe.cpu_matmul, None, Needs::Training, ranks)?;
    let mut optimizer = AdamW::of(&recipe.optimizer, &model.parameters, ranks);
    let mut settings = StepSettings::of(&recipe);
    budget::fit(&model, ranks, &plan, &recipe, &mut settings)?;
    let (trainee, with_teacher) =
        (Trainee { model: &model, settings: &settings }, recipe.loss.teacher != Teacher::None);
    let mut batches = Prefetcher::start(plan, ranks.rank(), ranks.world_size(), args.from..until)?;

    let device = model.options().1;
    phase::follow(device);
    let peaks = || product_flops_per_sec(compute_kind_of(recipe.precision), model.options().1, model.dims().0);
    let peaks_before = peaks();
    let (mut steps, mut device_peak) = (Vec::new(), None);
    for step in args.from..until {
        ranks.barrier()?;
        phase::begin_step();
        let (started, cpu_started) = (Instant::now(), cpu_secs());
        let Some(batch) = during(Phase::Input, || batches.next().transpose())? else { break };
        let mut record = step_record::of(&batch, batches.wait_secs());
        let stepped = train_step(&trainee, &mut optimizer, ranks, &batch.share, || false, || ())?;
        share_figures(ranks, &batch.share, &stepped, with_teacher, started, &mut record)?;
        let secs = started.elapsed().as_secs_f64();
        let cpu_secs = cpu_secs() - cpu_started;
        let report = step_report(ranks, [secs, cpu_secs], &phase::take(), &batch.share, &stepped.outcome)?;
        if step > args.from {
            steps.push(report);
            device_peak = device_peak.max(record.device_peak_bytes);
        }
    }
    let mut maxima = resident_bytes().map(|bytes| bytes as f64);
    ranks.all_reduce(maxima.as_mut_slice().into(), ReduceOp::Max)?;
    // Other work may have held up the first products.
    ranks.barrier()?;
    let peaks = peaks();
    let rates = ranks_mean(ranks, [0, 1].map(|i| peaks[i].max(peaks_before[i])))?;
    if ranks.rank() == 0 {
        let matmul = model.parameters.matmul;
        let report = bench::Report {
            world_size: ranks.world_size(),
            threads: tch::get_num_threads() as usize,
            precision: recipe.precision,
            cpu_matmul: [
                ("forward", matmul.forward),
                ("input_gradient", matmul.input_gradient),
                ("weight_gradient", matmul.weight_gradient),
            ]
            .map(|(product, library)| (product.to_owned(), library))
            .into(),
            product_flops_per_sec: rates[0].max(rates[1]),
            libtorch_product_flops_per_sec: rates[1],
            steps,
            peak_rss_bytes: maxima[1],
            device_peak_bytes: device_peak.map(|bytes| bytes as f64),
            sub_batch_tokens: settings.sub_batch.tokens,
            kept_graph_tokens: settings.kept_graph_tokens,
        };
        println!("{}", says::line(&report));
    }
    Ok(())
}

/// The last step to time: the recipe's last one at most.
fn last_step(args: &BenchArgs, recipe: &Recipe) -> Result<u64, CommandError> {
    let last = args.from.saturating_add(args.steps.get()).min(recipe.steps.saturating_sub(1));
    if last > args.from {
        return Ok(last);
    }
    Err(CommandError::Usage(format!(
        "the recipe's {} steps leave none to time after step {}, which is not timed: raise steps, or lower --from",
        recipe.steps, args.from
    )))
}

/// One step's figures: the ranks' mean seconds by phase, in all and of processors, and all ranks' tokens. Every rank
/// calls it.
fn step_report(
    ranks: &dyn Collective,
    secs: [f64; 2],
    phases: &PhaseSecs,
    share: &Share,
    outcome: &Outcome,
) -> anyhow::Result<bench::Step> {
    let sum = |of: fn(f64) -> f64| share.texts.iter().map(|text| of(text.ids.len() as f64)).sum();
    let [encoder_labels, decoder_labels] = labels(outcome);
    let tokens = [
        outcome.num_tokens as f64,
        sum(|len| len * len),
        if decoder_labels > 0.0 { sum(|len| len * (len - SpecialTokens::NUM_FRAMING as f64).max(0.0)) } else { 0.0 },
    ];
    let mut all: Vec<f64> = phases.0.iter().copied().chain(secs).chain(tokens).collect();
    ranks.all_reduce(all.as_mut_slice().into(), ReduceOp::Sum)?;
    let num_phases = phases.0.len();
    let means: Vec<f64> = all[..num_phases + 2].iter().map(|sum| sum / ranks.world_size() as f64).collect();
    let mut mean_phases = PhaseSecs::default();
    mean_phases.0.copy_from_slice(&means[..num_phases]);
    Ok(bench::Step {
        step_secs: means[num_phases],
        cpu_secs: means[num_phases + 1],
        phase_secs: mean_phases.by_name(),
        tokens: all[num_phases + 2],
        squares: all[num_phases + 3],
        encoder_labels,
        decoder_labels,
        decoder_pairs: all[num_phases + 4],
    })
}

/// Words that all ranks' encoders and decoders had to predict.
fn labels(outcome: &Outcome) -> [f64; 2] {
    let Told::Pretraining(predicted) = &outcome.told else { return [0.0; 2] };
    [Some(predicted.encoder), predicted.decoder].map(|side| side.map_or(0.0, |side| side.num_labels as f64))
}
