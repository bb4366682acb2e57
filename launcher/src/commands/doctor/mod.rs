//! `tercet doctor`: are the machines fit for a run, and what is to be done about those that are not?
//!
//! The ranks look and measure (`worker/src/preflight`); here their report becomes a table. What is shown is a part of
//! it: `--json` keeps all.

mod devices;
mod table;

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use tercet_protocol::Command;

use crate::args::Doctor;
use crate::place::Placement;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Examines the machines and prints a table, or JSON.
///
/// # Errors
/// A machine that is sick (exit code 3), a recipe that cannot be used on any (2), or ranks that did not end well.
pub fn run(args: &Doctor) -> anyhow::Result<()> {
    // A recipe that cannot be used is the ranks' to report.
    let recipe = args.what.load().and_then(Result::ok);
    let placement = Placement::find(&args.ranks, args.what.device_choice(recipe.as_ref()))?;
    let screen = Screen::new();
    let mut output = Vec::new();
    let what = Command::Doctor(args.what.clone());
    let ended = start::run(&placement, &what, Input::Nothing, &screen, |line| output.extend_from_slice(line));
    if output.is_empty() {
        return ended.context("not all ranks could be started, so none was examined");
    }
    let report: Value = serde_json::from_slice(&output).context("reading what tercet-worker doctor wrote")?;
    let json = serde_json::to_string_pretty(&report)? + "\n";
    if args.json.as_deref() == Some(Path::new("-")) {
        screen.pass(json.as_bytes());
        return ended;
    }
    if let Some(path) = &args.json {
        tercet_sampler::write_durably(path, json.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    let report = serde_json::from_value(report).context("reading what tercet-worker doctor wrote")?;
    screen.pass(table::table(&report).as_bytes());
    // Why it ends with 2 or 3 is in the table.
    ended
}
