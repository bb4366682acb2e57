//! Whether a query's passage is relevant, by a model: ranks index and score, this program asks them.
//!
//! Two rules, of which either may be left out. A pair whose score is below a minimum goes, as in C-Pack (Xiao et al.,
//! 2023, arXiv 2309.07597). And a pair stays only if its passage is among the best of itself and very many random
//! passages, the consistency filter of E5 (Wang et al., 2022, arXiv 2212.03533). The passages are a sample of all rows'
//! ([`sample`]), which `tercet index` makes an index; `tercet score` gives each pair its score and counts the passages
//! that score higher ([`judged`]).
//!
//! A pair's own passage never counts as a better one, nor does another with the same tokens. What scores the same is
//! no better. So k − 1 passages may be better where `top` is k.

mod judged;
mod recipe;
mod rows;
mod sample;
mod tercet;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use crate::duplicates;
use crate::error::CurateError;
use crate::reason::Reason;
pub use recipe::RelevanceRecipe;
use rows::make_folder;
pub use rows::{Numbers, Scores, Units};
use tercet::Tercet;

/// Units whose rows are scored by one command.
const UNITS_AT_A_TIME: usize = 256;

/// How long ranks that an earlier process started are waited for. They are asked to stop when it ends, and are killed
/// if they have not within a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reasons, in the order of precedence.
const LOW_RELEVANCE: Reason = Reason::new("low_relevance");
const INCONSISTENT: Reason = Reason::new("inconsistent");

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Which rows go.
    pub dropped: duplicates::Found,
    /// How pairs score.
    pub scores: Scores,
}

/// Says before any work what would end it.
///
/// # Errors
/// There is no launcher, or no such model.
pub fn check(recipe: &RelevanceRecipe, base: &Path) -> Result<(), CurateError> {
    let model = base.join(&recipe.model);
    if !model.join("config.json").is_file() {
        let reason = "no config.json: a model's folder in the Hugging Face layout is expected";
        return Err(CurateError::Usage(format!("relevance.model: {}: {reason}", model.display())));
    }
    Tercet::find().map(drop)
}

/// Finds the rows of `units` that go. The recipe's paths are relative to `base`. `scratch` is a folder of its own,
/// whose content nobody needs afterwards but the files of [`Found::dropped`]; what a killed process left there is gone
/// on with.
///
/// # Errors
/// Ranks failed, with their exit code. The operating system's.
pub fn find(units: Units, recipe: &RelevanceRecipe, base: &Path, scratch: &Path) -> Result<Found, CurateError> {
    find_by(Tercet::find()?, units, recipe, base, scratch)
}

fn find_by(
    mut tercet: Tercet,
    units: Units,
    recipe: &RelevanceRecipe,
    base: &Path,
    scratch: &Path,
) -> Result<Found, CurateError> {
    let mut found = Found::default();
    found.dropped.reasons = vec![LOW_RELEVANCE, INCONSISTENT];
    found.dropped.units = (0..units.rows.len()).map(|unit| scratch.join(format!("dropped/{unit:06}"))).collect();
    make_folder(&scratch.join("dropped"))?;
    // Those that a killed process started may not have ended yet, and write here.
    tercet.be_alone(&scratch.join("ranks"), PATIENCE)?;
    let index = match recipe.consistency {
        Some(consistency) => {
            let passages = scratch.join("passages.jsonl.zst");
            found.scores.passages = sample::write(units, consistency.passages, &passages)?;
            let index = scratch.join("index");
            if found.scores.passages > 0 {
                tercet.run("index", recipe.index_words(base, &passages, &index))?;
            }
            Some(index)
        }
        None => None,
    };
    let ranks = judged::Ranks { tercet: &tercet, recipe, base, index: index.as_deref() };
    for first in (0..units.rows.len()).step_by(UNITS_AT_A_TIME) {
        let group = first..units.rows.len().min(first + UNITS_AT_A_TIME);
        found.scores.merge(&judged::judge(&ranks, units, group, scratch, &found.dropped.units)?);
    }
    Ok(found)
}
