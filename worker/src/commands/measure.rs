//! How fast this machine's ranks are with a recipe's model: what `tercet plan --measure` reckons with.
//!
//! All ranks work at the same time, as they do in training, and the slowest counts. Texts are made up: only their
//! lengths matter for speed.

use std::time::Instant;

use tch::{Kind, Tensor};
use tercet_cluster::{Collective, CollectiveError, ReduceOp};
use tercet_protocol::args::MeasureArgs;
use tercet_protocol::says::{self, measure};

use super::peak::{product_flops_per_sec, ranks_mean};
use crate::agreement::matmul::{self, Needs};
use crate::agreement::{compute_kind_of, precision};
use crate::model::M3Model;
use crate::model::representation::{Heads, Representations, zero_gradients};
use crate::model::sub_batch::SubBatches;
use crate::run::budget::{PretrainingTrial, made_up_text};
use crate::run::model_of;
use crate::step::clip::clip_grad_norm;
use crate::step::reduce::GradientReducer;
use crate::step::settings::{Objective, StepSettings};
use crate::step::update::AdamW;
use crate::tensors::exchange::ring_pass;

/// Number of repeats; the median is reported.
const REPEATS: usize = 5;

/// Elements that go round the ring: larger than any cache.
const RING_ELEMENTS: i64 = 1 << 23;

/// Measures and prints one JSON object (rank 0). Every rank calls it.
///
/// # Errors
/// A model that cannot be used, or a collective that failed.
pub fn run(args: &MeasureArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let mut recipe = args.recipe.load()?;
    precision::decide(&mut recipe, false, ranks)?;
    let mut model = model_of(&recipe, ranks)?;
    model.enable_gradients(compute_kind_of(recipe.precision));
    matmul::choose(&mut model, recipe.cpu_matmul, None, Needs::Training, ranks)?;
    let settings = StepSettings::of(&recipe);
    let Trial { num_texts, pass } = Trial::new(&model, &settings, args.text_len);

    ranks.barrier()?;
    let rates = product_flops_per_sec(compute_kind_of(recipe.precision), model.options().1, model.dims().0);
    let [product, libtorch_product] = ranks_mean(ranks, rates)?;
    let encoder_secs = slowest(ranks, || {
        pass();
        done(&model.parameters.flat_grad().narrow(0, 0, 1));
        Ok(())
    })?;
    let mut optimizer = AdamW::of(&recipe.optimizer, &model.parameters, ranks);
    let update_secs = slowest(ranks, || {
        let clip = clip_grad_norm(ranks, &model.parameters, &recipe.optimizer)?;
        // A rate of 0 costs what any other does and leaves the weights.
        optimizer.update(ranks, &model.parameters, &recipe.optimizer, 0.0, clip.factor)?;
        done(&model.parameters.flat.narrow(0, 0, 1));
        Ok(())
    })?;
    let all_reduce_secs = slowest(ranks, || GradientReducer::new(ranks, &model.parameters, false).finish())?;
    let block = Tensor::zeros([RING_ELEMENTS], model.options());
    let ring_secs = slowest(ranks, || ring_pass(ranks, &block, &[RING_ELEMENTS]).map(|_| ()))?;

    if ranks.rank() == 0 {
        let (element_bytes, world) = (model.options().0.elt_size_in_bytes() as f64, ranks.world_size() as f64);
        let sent = 2.0 * (world - 1.0) / world * element_bytes * model.parameters.numel() as f64;
        let report = measure::Report {
            world_size: ranks.world_size(),
            product_flops_per_sec: product.max(libtorch_product),
            num_texts,
            text_len: args.text_len,
            encoder_secs,
            update_secs,
            all_reduce_bytes_per_sec: sent / all_reduce_secs,
            ring_bytes_per_sec: element_bytes * RING_ELEMENTS as f64 / ring_secs,
        };
        println!("{}", says::line(&report));
    }
    Ok(())
}

/// A sub-batch of made-up texts.
struct Trial<'a> {
    num_texts: usize,
    /// Takes it through the model, forward and backward, as the recipe's steps do.
    pass: Box<dyn Fn() + 'a>,
}

impl<'a> Trial<'a> {
    /// A batch of as many texts as a sub-batch takes, one at least.
    fn new(model: &'a M3Model, settings: &'a StepSettings, text_len: usize) -> Self {
        let (limit, len) = (settings.sub_batch, text_len.clamp(2, model.config.max_text_len()));
        let lens = vec![len; (limit.tokens / len).max(1)];
        let heads = match &settings.objective {
            Objective::Contrastive(loss) => Heads::of(loss.preset),
            Objective::Pretraining(section, _) => {
                let trial = PretrainingTrial::new(model, section, lens.into_iter());
                return Self { num_texts: trial.num_texts(), pass: Box::new(move || trial.pass(model)) };
            }
        };
        let texts: Vec<_> = lens.into_iter().map(|len| made_up_text(model, len, 0)).collect();
        let sub_batch = SubBatches::new(&texts, limit, model.framing(), heads).build(0);
        let num_texts = sub_batch.num_texts() as usize;
        let pass = move || {
            let (own, graph) = model.represent(&sub_batch, heads, Some(0), true);
            let mut all = Representations::zeros(&texts, model.dims(), heads, model.options());
            all.scatter(&sub_batch, &own);
            let Some(graph) = graph else { return };
            model.backward(graph, &zero_gradients(&all), &sub_batch, Some(0), &mut |_| ());
        };
        Self { num_texts, pass: Box::new(pass) }
    }
}

/// Waits until the device has computed `tensor`.
fn done(tensor: &Tensor) {
    let _ = tensor.flatten(0, -1).get(0).to_kind(Kind::Double).double_value(&[]);
}

/// The slowest rank's median seconds of `work`, which all ranks begin together. Every rank calls it.
fn slowest(
    ranks: &dyn Collective,
    mut work: impl FnMut() -> Result<(), CollectiveError>,
) -> Result<f64, CollectiveError> {
    work()?; // memory is allocated, threads are started
    let mut secs = Vec::with_capacity(REPEATS);
    for _ in 0..REPEATS {
        ranks.barrier()?;
        let started = Instant::now();
        work()?;
        let mut own = [started.elapsed().as_secs_f64()];
        ranks.all_reduce(own[..].as_mut().into(), ReduceOp::Max)?;
        secs.push(own[0]);
    }
    secs.sort_by(f64::total_cmp);
    Ok(secs[REPEATS / 2])
}
