//! `tercet train`: trains as a recipe says.

use super::recipe;
use crate::args::Train;
use crate::supervise;

/// Trains, with progress, until the last step.
///
/// # Errors
/// A recipe that cannot be used, or ranks that did not end well for the last time.
pub fn run(args: &Train) -> anyhow::Result<()> {
    let (recipe, placement) = recipe::load(&args.what.recipe, &args.ranks)?;
    supervise::train(args, &recipe, &placement)
}
