//! `tercet step`: one step on given rows, as JSON or as a table.

mod table;

use anyhow::Context;
use tercet_protocol::Command;

use super::recipe;
use crate::args::Step;
use crate::place::Placement;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Has the ranks compute it: their JSON object on standard output as it is, or its table.
///
/// # Errors
/// A recipe that cannot be used, or ranks that did not end well.
pub fn run(args: &Step) -> anyhow::Result<()> {
    recipe::load_for(&args.what.recipe, args.ranks)?;
    let (placement, what, screen) = (Placement::here(args.ranks), Command::Step(args.what.clone()), Screen::new());
    if args.json {
        return start::run(&placement, &what, Input::Nothing, &screen, |line| screen.pass(line));
    }
    let mut output = Vec::new();
    start::run(&placement, &what, Input::Nothing, &screen, |line| output.extend_from_slice(line))?;
    let report = serde_json::from_slice(&output).context("reading what tercet-worker step wrote")?;
    screen.pass(table::table(report).as_bytes());
    Ok(())
}
