//! `precision = "auto"`: decided once, when the ranks know their devices, and kept for the whole run.
//!
//! A run's numbers depend on it, so the decision replaces "auto" in the recipe before anything is computed or compared:
//! the run folder and every checkpoint say what the run computes in. Who goes on with a run that was begun elsewhere,
//! or before there was such a choice, goes on in its precision.

use tercet_cluster::{Collective, all_ranks, broadcast_bytes};
use tercet_configs::{Precision, Recipe};

use crate::checkpoint;
use crate::machine::card;
use crate::machine::device::{device_kind, device_of};

/// What `asked` is on these ranks' devices, the same on all. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn of_ranks(asked: Precision, ranks: &dyn Collective) -> anyhow::Result<Precision> {
    let device = device_of(ranks);
    let all_have_bf16 = all_ranks(ranks, card::has_bf16(device))?;
    Ok(asked.on(device_kind(device), all_have_bf16))
}

/// Decides the precision that `recipe` leaves open: that of the newest checkpoint of its run folder if the run
/// `resumes`, else what the devices are made for. Returns what is to be said of a choice that the devices would not
/// have made. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub fn decide(recipe: &mut Recipe, resumes: bool, ranks: &dyn Collective) -> anyhow::Result<Option<String>> {
    let fresh = of_ranks(recipe.precision, ranks)?;
    // One rank looks, and all take the same.
    let newest = (resumes && ranks.rank() == 0).then(|| checkpoint::newest_recipe(&recipe.run_dir)).flatten();
    let mut begun = newest.map_or_else(Vec::new, |before| before.precision.name().into());
    broadcast_bytes(ranks, &mut begun, 0)?;
    let begun = Precision::try_from(String::from_utf8_lossy(&begun).into_owned()).ok();
    Ok(take(recipe, fresh, begun))
}

/// Fills in what the recipe leaves open; `begun` is what a run that goes on was begun in.
fn take(recipe: &mut Recipe, fresh: Precision, begun: Option<Precision>) -> Option<String> {
    if recipe.precision != Precision::Auto {
        return None;
    }
    let begun = begun.filter(|begun| *begun != Precision::Auto);
    recipe.precision = begun.unwrap_or(fresh);
    let (now, fresh) = (recipe.precision.name(), fresh.name());
    (now != fresh).then(|| {
        format!(
            "the run was begun in {now} and goes on in it; a new run would compute in {fresh} on these devices \
             (precision = \"auto\")"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tercet_cluster::Solo;

    use super::*;

    fn recipe(precision: &str) -> Recipe {
        Recipe::parse(&format!("name = \"t\"\nprecision = \"{precision}\""), Path::new("t.toml"), &[]).unwrap()
    }

    #[test]
    fn what_is_said_stays_and_what_is_open_is_the_runs_or_the_devices() {
        use Precision::{Auto, Bf16, Fp32, Fp64};
        for (said, fresh, begun, taken, tells) in [
            ("fp32", Bf16, None, Fp32, false),
            ("fp32", Bf16, Some(Bf16), Fp32, false),
            ("auto", Bf16, None, Bf16, false),
            ("auto", Fp32, None, Fp32, false),
            // From before there was a choice, or begun on other cards.
            ("auto", Bf16, Some(Fp32), Fp32, true),
            ("auto", Fp32, Some(Bf16), Bf16, true),
            ("auto", Fp32, Some(Fp64), Fp64, true),
            ("auto", Bf16, Some(Bf16), Bf16, false),
            ("auto", Bf16, Some(Auto), Bf16, false),
        ] {
            let mut recipe = recipe(said);
            let told = take(&mut recipe, fresh, begun);
            assert_eq!((recipe.precision, told.is_some()), (taken, tells), "{said} {fresh:?} {begun:?}: {told:?}");
        }
    }

    #[test]
    fn a_cpu_computes_in_fp32() {
        let mut recipe = recipe("auto");
        assert_eq!(decide(&mut recipe, false, &Solo::new()).unwrap(), None);
        assert_eq!(recipe.precision, Precision::Fp32);
    }
}
