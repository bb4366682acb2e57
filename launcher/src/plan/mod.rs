//! `tercet plan`: what a run will do and cost, before anything is booked for it.
//!
//! Rows, batches and steps come from the plan itself; padding, balance, bytes and memory from dealing some of its steps
//! as training would; operations from the model's shape; times from rates that are given or measured.

mod cells;
mod contrast;
mod deal;
mod dealt;
mod figures;
mod flops;
mod load;
mod memory;
mod report;
#[cfg(test)]
mod shape_of_tests;
mod table;
mod time;
mod traffic;
mod units;
mod vocabulary;
mod warnings;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tercet_configs::{Device, ExitCode, ModelShape, Recipe, error_line};
use tercet_sampler::{Phase, Plan};

use crate::args::{PlanArgs, Ranks};
use crate::exit::{self, Fail};
use crate::picture;
use crate::place::Placement;
use crate::screen::Screen;
use crate::{run, start, worker_args};

pub use flops::encoder as encoder_flops;
pub use load::Encoded;
pub use report::{CellReport, Report, StepFigures};
#[cfg(test)]
pub use shape_of_tests::shape as test_shape;
pub use units::{duration, grouped, percent, scaled};

use dealt::DealtStep;
use figures::Run;
use report::ModelReport;
use time::Rates;

/// Says what the recipe's run will do: a table, and JSON and a picture where asked for.
///
/// # Errors
/// A recipe, a store or a model that cannot be used; all that can be said nevertheless is printed before.
pub fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let (recipe, world_size) = load(args)?;
    let (report, code) = report(args, &recipe, world_size)?;
    let screen = Screen::new();
    let json = serde_json::to_string_pretty(&report).context("writing the plan as JSON")? + "\n";
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => screen.pass(json.as_bytes()),
        Some(path) => {
            screen.pass(table::table(&report).as_bytes());
            tercet_sampler::write_durably(path, json.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        None => screen.pass(table::table(&report).as_bytes()),
    }
    if let Some(path) = &args.picture {
        picture::plan::draw(&report, path)?;
    }
    match report.errors.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(Fail::with_code(code, format!("this run would fail: {first}")).into()),
    }
}

/// The recipe, and how many ranks it shall be planned for: they need not be here.
fn load(args: &PlanArgs) -> anyhow::Result<(Recipe, NonZeroUsize)> {
    let Some(world) = args.world else {
        let (recipe, placement) = run::load(&args.recipe, &args.settings, &Ranks::default())?;
        return Ok((recipe, placement.num_ranks()));
    };
    let recipe = Recipe::load(&args.recipe, &args.settings.all())?;
    run::check_backend(&recipe, &args.recipe, world)?;
    Ok((recipe, world))
}

/// The plan, and the exit code that the first of its errors means.
fn report(args: &PlanArgs, recipe: &Recipe, world_size: NonZeroUsize) -> anyhow::Result<(Report, i32)> {
    let world = world_size.get();
    let (mut errors, mut code) = (Vec::new(), None);
    let mut take = |error: anyhow::Error| {
        code.get_or_insert(exit::code_of(&error));
        errors.push(error_line(error.as_ref()));
    };
    let shape = ModelShape::of(recipe, args.model_config.as_deref()).map_err(|error| take(error.into())).ok();
    let store = Plan::store_of(recipe).map_err(|error| take(error.into())).ok();
    let plan =
        store.as_ref().and_then(|store| Plan::new(Arc::clone(store), recipe).map_err(|error| take(error.into())).ok());
    let mut report = Report {
        recipe: recipe.name.clone(),
        world_size: world,
        steps: recipe.steps,
        device: args.device.unwrap_or_else(default_device),
        model: shape.as_ref().map(ModelReport::of),
        rows: store.as_ref().map_or(0, |store| store.manifest().datasets.iter().map(|set| set.num_rows).sum()),
        steps_per_round: plan.iter().flat_map(|plan| plan.phases()).map(Phase::steps_per_round).collect(),
        cells: store.as_ref().map_or(Vec::new(), |store| cells::stored(store, &recipe.data.length_groups)),
        totals: None,
        memory: None,
        traffic: None,
        rates: None,
        dealt_batches: Vec::new(),
        warnings: Vec::new(),
        errors,
    };
    if let Some(plan) = &plan {
        let batches = plan.batches_given_by(recipe.steps);
        let lexical = shape.as_ref().is_some_and(|shape| shape.heads.lexical);
        let dealt = deal::deal_sample(plan, recipe, &batches, (world, report.device), lexical)?;
        if let Some(shape) = &shape {
            report.rates = rates(args, shape, world_size, typical_len(&dealt))?;
        }
        let run = Run { recipe, shape: shape.as_ref(), device: report.device, world_size: world, rates: report.rates };
        (report.dealt_batches, report.memory) = run.steps(&dealt);
        report.cells = cells::planned(plan, &batches);
        run.fill(&mut report.cells, &report.dealt_batches);
        (report.totals, report.traffic) = run.totals(&report.cells).unzip();
        report.errors.extend(warnings::errors(plan, recipe, world, shape.as_ref()));
        report.warnings = warnings::warnings(plan, recipe, world, &report.cells);
    }
    // What is found without an error of its own is the recipe's.
    Ok((report, code.unwrap_or(ExitCode::Usage.code())))
}

/// What ranks would compute on if they were started here.
fn default_device() -> Device {
    if start::num_gpus() > 0 { Device::Cuda } else { Device::Cpu }
}

/// From the command line, or measured on this machine with texts of `text_len` tokens.
fn rates(
    args: &PlanArgs,
    shape: &ModelShape,
    world_size: NonZeroUsize,
    text_len: usize,
) -> anyhow::Result<Option<Rates>> {
    let several = world_size.get() > 1;
    if let Some(flops) = args.flops {
        if args.bandwidth.is_none() && several {
            let message = format!("--flops for {world_size} ranks needs --bandwidth BYTES_PER_SECOND as well");
            return Err(Fail::new(ExitCode::Usage, message).into());
        }
        return Ok(Some(Rates::given(flops, args.bandwidth.unwrap_or_default())));
    }
    if !args.measure {
        return Ok(None);
    }
    let ranks = args.measure_ranks.unwrap_or(world_size);
    if ranks.get() == 1 && several {
        let message =
            format!("--measure-ranks 1 cannot tell how fast {world_size} ranks exchange: measure with 2 or more");
        return Err(Fail::new(ExitCode::Usage, message).into());
    }
    let mut output = Vec::new();
    let words = worker_args::measure(args, text_len);
    run::ranks(&Placement::here(ranks), &words, &Screen::new(), |line| output.extend_from_slice(line))?;
    let found = serde_json::from_slice(&output).context("reading what the ranks measured")?;
    Ok(Some(Rates::measured(shape, &found)))
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
