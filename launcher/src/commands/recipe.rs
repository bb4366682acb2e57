//! What commands with a recipe begin with.

use std::num::NonZeroUsize;
use std::path::Path;

use tercet_configs::{Backend, ExitCode, Recipe};
use tercet_protocol::args::RecipeArgs;

use crate::args::Ranks;
use crate::exit::Fail;
use crate::place::Placement;

/// The recipe, and where its ranks run.
///
/// # Errors
/// A recipe that cannot be used, or not on this number of ranks; hosts that cannot be used.
pub fn load(typed: &RecipeArgs, asked: &Ranks) -> anyhow::Result<(Recipe, Placement)> {
    let recipe = typed.load()?;
    let alone = recipe.backend == Backend::Solo && asked.ranks.is_none() && asked.hosts.is_none();
    let placement = if alone { Placement::here(NonZeroUsize::MIN) } else { Placement::find(asked, recipe.device)? };
    check_backend(&recipe, &typed.path, placement.num_ranks())?;
    Ok((recipe, placement))
}

/// The recipe alone, for `num_ranks` ranks.
///
/// # Errors
/// A recipe that cannot be used, or not on this number of ranks.
pub fn load_for(typed: &RecipeArgs, num_ranks: NonZeroUsize) -> anyhow::Result<Recipe> {
    let recipe = typed.load()?;
    check_backend(&recipe, &typed.path, num_ranks)?;
    Ok(recipe)
}

fn check_backend(recipe: &Recipe, path: &Path, num_ranks: NonZeroUsize) -> Result<(), Fail> {
    if recipe.backend == Backend::Solo && num_ranks.get() > 1 {
        let message = format!(
            "recipe {}: backend: is \"solo\", which is one rank, but {num_ranks} are asked for: set backend = \"auto\"",
            path.display()
        );
        return Err(Fail::new(ExitCode::Usage, message));
    }
    Ok(())
}
