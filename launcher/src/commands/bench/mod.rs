//! `tercet bench`: how much of the machine a recipe's steps use, and where their time goes.
//!
//! The ranks do the steps that training would do, and say how long each phase took and how fast a matrix product is on
//! the same threads in the same precision, in one run; [`report`] sets one against the other.

mod report;
mod table;

use std::num::NonZeroUsize;

use anyhow::Context;
use tercet_configs::{Device, ModelShape, Recipe};
use tercet_protocol::Command;
use tercet_protocol::says::bench;
use tercet_protocol::says::bench_report::Report;

use super::recipe;
use crate::args::Bench;
use crate::plan::{self, Target};
use crate::screen::Screen;
use crate::start::{self, Input};

/// Times the recipe's steps and prints a table, or JSON.
///
/// # Errors
/// A recipe that cannot be used, or ranks that did not end well.
pub fn run(args: &Bench) -> anyhow::Result<()> {
    let (recipe, placement) = recipe::load(&args.what.recipe, &args.ranks)?;
    let shape = ModelShape::of(&recipe, None)?;
    let screen = Screen::new();
    let mut output = Vec::new();
    let what = Command::Bench(args.what.clone());
    start::run(&placement, &what, Input::Nothing, &screen, |line| output.extend_from_slice(line))?;
    let measured: bench::Report = serde_json::from_slice(&output).context("reading what tercet-worker bench wrote")?;
    let planned = measured.device_peak_bytes.and_then(|_| planned_bytes(&recipe, &measured));
    let report = Report { planned_device_bytes: planned, ..report::report(recipe.name, &shape, measured)? };
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { table::table(&report) };
    screen.pass(text.as_bytes());
    Ok(())
}

/// What the plan expects a rank's tensors to take on its GPU, for steps that are cut as the measured ones were; none if
/// there is no plan.
fn planned_bytes(recipe: &Recipe, measured: &bench::Report) -> Option<f64> {
    let recipe = Recipe {
        precision: measured.precision,
        sub_batch_tokens: measured.sub_batch_tokens,
        kept_graph_tokens: Some(measured.kept_graph_tokens),
        memory_budget: None,
        ..recipe.clone()
    };
    let world_size = NonZeroUsize::new(measured.world_size)?;
    let (report, _) = plan::report(&recipe, Target::new(world_size, Device::Cuda), None, |_, _| Ok(None)).ok()?;
    Some(report.memory?.bytes_of_tensors())
}
