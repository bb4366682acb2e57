//! `tercet bench`: how much of the machine a recipe's steps use, and where their time goes.
//!
//! The ranks do the steps that training would do, and say how long each phase took and how fast a matrix product is on
//! the same threads in the same precision, in one run; [`report`] sets one against the other.

mod report;
mod table;

use anyhow::Context;
use tercet_configs::ModelShape;
use tercet_protocol::Command;

use self::report::Report;
use super::recipe;
use crate::args::Bench;
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
    let measured = serde_json::from_slice(&output).context("reading what tercet-worker bench wrote")?;
    let report = Report::new(recipe.name, &shape, measured)?;
    let text = if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { table::table(&report) };
    screen.pass(text.as_bytes());
    Ok(())
}
