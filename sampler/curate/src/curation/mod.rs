//! `tercet curate`: raw files to training rows, by a recipe.

mod recipe;

use crate::args::Curate;
use crate::error::CurateError;

/// Curates what is asked for, and returns what to say of it.
///
/// # Errors
/// The recipe or the data are not what they should be, or files cannot be read or written.
pub fn run(args: &Curate) -> Result<String, CurateError> {
    let recipe = recipe::Recipe::load(&args.recipe)?;
    Ok(format!("{} sources", recipe.source.len()))
}
