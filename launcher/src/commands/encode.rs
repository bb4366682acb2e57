//! `tercet encode`: from texts to representations.

use std::path::Path;

use tercet_protocol::Command;
use tercet_protocol::args::EncodeArgs;

use crate::args::OnRanks;
use crate::place::Placement;
use crate::screen::Screen;
use crate::start::{self, Input};

/// Has the ranks do it; what they print is for the user as it is.
///
/// # Errors
/// Ranks that did not end well.
pub fn run(args: &OnRanks<EncodeArgs>) -> anyhow::Result<()> {
    let input = if args.what.input == Path::new("-") { Input::Ours } else { Input::Nothing };
    let (placement, screen) = (Placement::find(&args.ranks, args.what.device.into())?, Screen::new());
    start::run(&placement, &Command::Encode(args.what.clone()), input, &screen, |line| screen.pass(line))
}
