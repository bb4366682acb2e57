//! `tercet score`: what a model makes of rows' pairs.

use tercet_protocol::Command;
use tercet_protocol::args::ScoreArgs;

use crate::args::OnRanks;
use crate::place::Placement;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Has the ranks do it; what they print is for the user as it is.
///
/// # Errors
/// Ranks that did not end well.
pub fn run(args: &OnRanks<ScoreArgs>) -> anyhow::Result<()> {
    let (placement, screen) = (Placement::find(&args.ranks, args.what.device.into())?, Screen::new());
    start::run(&placement, &Command::Score(args.what.clone()), Input::Nothing, &screen, |line| screen.pass(line))
}
