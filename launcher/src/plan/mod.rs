//! What a run will do and cost, before anything is booked for it.
//!
//! Rows, batches and steps come from the plan itself; balance, bytes and memory from dealing some of its steps
//! as training would; operations from the model's shape; times from rates that are given or measured.

mod cells;
mod contrast;
mod deal;
mod dealt;
mod figures;
mod flops;
mod memory;
mod picture;
mod predicted;
mod report;
mod retrieval;
#[cfg(test)]
mod shape_of_tests;
mod table;
mod time;
mod timetable;
mod traffic;
mod units;
mod vocabulary;
mod warnings;
mod work;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use tercet_configs::{Device, ExitCode, ModelShape, Recipe, error_line};
use tercet_sampler::{Phase, Plan, check_evaluation};

use crate::exit;

pub use flops::forward as forward_flops;
pub use picture::draw;
pub use predicted::Predicted;
pub use retrieval::{Scale, index_table, search_table};
#[cfg(test)]
pub use shape_of_tests::{pretraining_shape as test_pretraining_shape, shape as test_shape};
pub use table::table;
pub use time::{Card, Flat, Measured, Network, Rates, Speed};
pub use units::{counted, duration, grouped, percent, scaled};
pub use work::Encoded;

use dealt::DealtStep;
use figures::Run;
use memory::Fit;
use report::{ModelReport, Report};

/// What a run is planned for.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Ranks.
    pub world_size: NonZeroUsize,
    /// What they compute on.
    pub device: Device,
    /// The memory of one, where it is known; graphs are then kept as far as it goes.
    pub memory_bytes: Option<f64>,
}

impl Target {
    /// Ranks whose memory nobody knows.
    pub fn new(world_size: NonZeroUsize, device: Device) -> Self {
        Self { world_size, device, memory_bytes: None }
    }
}

/// What `recipe` will do on `target`, and the exit code of the first of its errors. `model_config` is a config.json to
/// go by instead of the recipe's model, and `rates` says what a rank with a model of some shape achieves with texts of
/// some length, where that is known.
///
/// # Errors
/// Batches that cannot be dealt, or rates that cannot be found out. Whatever else is wrong with the run is in the
/// report.
pub fn report(
    recipe: &Recipe,
    target: Target,
    model_config: Option<&Path>,
    rates: impl FnOnce(&ModelShape, usize) -> anyhow::Result<Option<Rates>>,
) -> anyhow::Result<(Report, i32)> {
    let Target { world_size, device, memory_bytes } = target;
    let world = world_size.get();
    let (mut errors, mut code) = (Vec::new(), None);
    let mut take = |error: anyhow::Error| {
        code.get_or_insert(exit::code_of(&error));
        errors.push(error_line(error.as_ref()));
    };
    let shape = ModelShape::of(recipe, model_config).map_err(|error| take(error.into())).ok();
    let store = Plan::store_of(recipe).map_err(|error| take(error.into())).ok();
    let plan =
        store.as_ref().and_then(|store| Plan::new(Arc::clone(store), recipe).map_err(|error| take(error.into())).ok());
    errors.extend(check_evaluation(recipe).err());
    let mut report = Report {
        recipe: recipe.name.clone(),
        world_size: world,
        steps: recipe.steps,
        device,
        precision: recipe.precision,
        model: shape.as_ref().map(ModelReport::of),
        rows: store.as_ref().map_or(0, |store| store.manifest().datasets.iter().map(|set| set.num_rows).sum()),
        steps_per_round: plan.iter().flat_map(|plan| plan.phases()).map(Phase::steps_per_round).collect(),
        cells: store.as_ref().map_or(Vec::new(), |store| cells::stored(store, &recipe.data.length_groups)),
        lengths: Vec::new(),
        totals: None,
        fit: Fit::unknown(recipe, device),
        memory: None,
        measured_peak_bytes: None,
        traffic: None,
        rates: None,
        compared: Vec::new(),
        dealt_batches: Vec::new(),
        warnings: Vec::new(),
        errors,
    };
    if let Some(plan) = &plan {
        let batches = plan.batches_given_by(recipe.steps);
        let lexical = shape.as_ref().is_some_and(|shape| shape.heads.lexical);
        if let Some((shape, bytes)) = shape.as_ref().zip(memory_bytes) {
            report.fit = Fit::on_card(shape, recipe, plan, world, bytes);
        }
        let dealt = deal::deal_sample(plan, recipe, &batches, (world, report.fit), lexical)?;
        if let Some(shape) = &shape {
            report.rates = rates(shape, typical_len(&dealt))?;
        }
        let run = Run { recipe, shape: shape.as_ref(), device, world_size: world, rates: report.rates.as_ref() };
        (report.dealt_batches, report.memory) = run.steps(&dealt);
        report.cells = cells::planned(plan, &batches);
        run.fill(&mut report.cells, &report.dealt_batches);
        report.lengths = run.lengths(&report.cells);
        (report.totals, report.traffic) = run.totals(&report.cells).unzip();
        report.errors.extend(warnings::errors(plan, recipe, world, shape.as_ref()));
        report.warnings = warnings::warnings(plan, recipe, world, &report.cells);
        report.warnings.extend(warnings::memory(report.memory.as_ref(), memory_bytes));
        report.warnings.extend(lexical.then(|| warnings::lengths_alone(plan)).flatten());
    }
    // What is found without an error of its own is the recipe's.
    Ok((report, code.unwrap_or(ExitCode::Usage.code())))
}

/// The length of the text that a token is in, on average.
fn typical_len(dealt: &[DealtStep]) -> usize {
    let encoded = || dealt.iter().flat_map(|step| &step.ranks).map(|rank| rank.encoded);
    let (squares, tokens) = (encoded().map(|e| e.squares).sum::<f64>(), encoded().map(|e| e.tokens).sum::<f64>());
    (squares / tokens.max(1.0)).round() as usize
}

impl ModelReport {
    fn of(shape: &ModelShape) -> Self {
        Self {
            num_layers: shape.config.num_hidden_layers,
            hidden_size: shape.config.hidden_size,
            intermediate_size: shape.config.intermediate_size,
            num_parameters: shape.num_parameters as u64,
        }
    }
}
