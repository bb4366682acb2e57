//! Where a run goes on after hosts were lost: on all that were asked for if they answer again, else on fewer ranks as
//! far as the recipe allows. The global batches stay the same, so the world size must share each of them equally.

use std::num::NonZeroUsize;

use anyhow::Context;
use tercet_configs::{ExitCode, Recipe};
use tercet_sampler::Plan;

use crate::exit::Fail;
use crate::place::Placement;
use crate::screen::Screen;

/// Asks the hosts of `asked`, and says which of them do not answer.
///
/// # Errors
/// [`ExitCode::Machine`] if those that answer have too few slots; a token store that can no longer be read.
pub fn place(asked: &Placement, recipe: &Recipe, screen: &Screen) -> anyhow::Result<Placement> {
    let survey = asked.without_lost();
    if survey.lost.is_empty() {
        return Ok(asked.clone());
    }
    let slots = survey.rest.as_ref().map_or(0, |rest| rest.num_ranks().get());
    let lost = format!("no answer from {}: the other hosts have {slots} slots", survey.lost.join(", "));
    let min_world = recipe.restart.min_world;
    let plan = Plan::open(recipe).context("finding out how many ranks can share the global batches")?;
    let shares = |world: usize| plan.check_world(world).is_ok();
    let world = world_size(asked.num_ranks().get(), slots, min_world, shares);
    match survey.rest.zip(world).and_then(|(rest, world)| rest.with_num_ranks(world)) {
        Some(placement) => {
            screen.say(&format!("tercet: {lost}; going on with {} ranks\n", placement.num_ranks()));
            Ok(placement)
        }
        None => {
            let message = format!(
                "{lost}, too few for {} ranks; restart.min_world is {min_world}: a number from 1 to {slots} lets the \
                 run go on with that many",
                asked.num_ranks(),
            );
            Err(Fail::new(ExitCode::Machine, message).into())
        }
    }
}

/// The largest world size, of at most `slots` ranks, that is allowed and that `shares` the global batches equally.
fn world_size(asked: usize, slots: usize, min_world: usize, shares: impl Fn(usize) -> bool) -> Option<NonZeroUsize> {
    let least = if min_world == 0 { asked } else { min_world.min(asked) };
    (least.max(1)..=slots.min(asked)).rev().find(|world| shares(*world)).and_then(NonZeroUsize::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_shrinks_as_far_as_the_recipe_allows() {
        let shares = |world: usize| 96 % world == 0 && 48 % world == 0;
        let world = |asked, slots, min| world_size(asked, slots, min, shares).map(NonZeroUsize::get);
        assert_eq!(world(24, 24, 0), Some(24), "spare hosts stand in");
        assert_eq!(world(24, 16, 0), None);
        assert_eq!(world(24, 16, 8), Some(16));
        // 15 ranks cannot share 96 rows.
        assert_eq!(world(24, 15, 8), Some(12));
        assert_eq!(world(24, 7, 8), None);
    }
}
