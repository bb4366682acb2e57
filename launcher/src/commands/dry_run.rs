//! `--dry-run` of `tercet index` and `tercet search`: ranks measure, and what all of it would take is reckoned here.

use anyhow::Context;
use clap::Args;
use serde::de::DeserializeOwned;
use tercet_protocol::Command;

use crate::args::Scaled;
use crate::place::Placement;
use crate::plan::Scale;
use crate::screen::Screen;
use crate::start::{self, Input};

/// What ranks have measured of `command`.
///
/// # Errors
/// Ranks that did not end well.
pub fn measured<T: DeserializeOwned>(placement: &Placement, command: &Command, screen: &Screen) -> anyhow::Result<T> {
    let mut output = Vec::new();
    start::run(placement, command, Input::Nothing, screen, |line| output.extend_from_slice(line))?;
    serde_json::from_slice(&output).context("reading what the ranks measured")
}

/// For whom it is reckoned: as was typed, or for `passages` on `ranks`.
pub fn scale<A: Args>(args: &Scaled<A>, passages: u64, ranks: usize) -> Scale {
    Scale {
        passages: args.for_passages.map_or(passages, Into::into),
        ranks: args.for_ranks.map_or(ranks, Into::into),
        flops: args.flops,
    }
}
