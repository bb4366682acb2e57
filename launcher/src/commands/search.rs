//! `tercet search`: from queries to ranked documents.

use tercet_protocol::Command;
use tercet_protocol::args::SearchArgs;
use tercet_protocol::says::dry_run::SearchSample;

use super::dry_run::{measured, scale};
use crate::args::Scaled;
use crate::place::Placement;
use crate::plan::search_table;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Has the ranks do it; what they print is for the user as it is. With `--dry-run` they measure, and what a query would
/// cost is reckoned here.
///
/// # Errors
/// Ranks that did not end well.
pub fn run(args: &Scaled<SearchArgs>) -> anyhow::Result<()> {
    let what = &args.on.what;
    let (placement, screen) = (Placement::find(&args.on.ranks, what.device.into())?, Screen::new());
    let command = Command::Search(what.clone());
    if !what.dry_run {
        return start::run(&placement, &command, Input::Nothing, &screen, |line| screen.pass(line));
    }
    let sample: SearchSample = measured(&placement, &command, &screen)?;
    let scale = scale(args, sample.passages, sample.world_size);
    screen.pass(search_table(&sample, scale).as_bytes());
    Ok(())
}
