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
mod sample;
mod tercet;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use tercet_sampler::{LineReader, LinesOf, utf8};

use crate::duplicates;
use crate::error::CurateError;
use crate::reason::Reason;
pub use recipe::RelevanceRecipe;
use tercet::Tercet;

/// Units whose rows are scored by one command.
const UNITS_AT_A_TIME: usize = 256;

/// The reasons, in the order of precedence.
const LOW_RELEVANCE: Reason = Reason::new("low_relevance");
const INCONSISTENT: Reason = Reason::new("inconsistent");

/// The rows of all units.
#[derive(Clone, Copy)]
pub struct Units<'a> {
    /// Of each unit a file with a line of JSON for each row, with `query` and `pos`.
    pub rows: &'a [PathBuf],
    /// The numbers of a unit's rows that are not asked about, ascending.
    pub dropped: &'a dyn Fn(usize) -> Result<Vec<u32>, CurateError>,
}

impl Units<'_> {
    /// Calls `visit` with the number and the line of each row of a unit that is asked about.
    fn for_each_row(
        &self,
        unit: usize,
        mut visit: impl FnMut(u32, &str) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let rows = &self.rows[unit];
        let mut reader = LineReader::open(rows, LinesOf::Objects)?;
        let mut dropped = (self.dropped)(unit)?.into_iter().peekable();
        let mut line = Vec::new();
        for number in 0.. {
            if reader.read_line(&mut line)?.is_none() {
                break;
            }
            if dropped.next_if_eq(&number).is_none() {
                visit(number, utf8(&line).map_err(|reason| CurateError::data(rows, reason))?)?;
            }
        }
        Ok(())
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Which rows go.
    pub dropped: duplicates::Found,
    /// How pairs score.
    pub scores: Scores,
}

/// How many pairs have which score.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// Pairs by their score in hundredths, rounded down.
    pub hundredths: BTreeMap<i32, u64>,
    /// Pairs by the number of better passages; the last number is that or more. None without consistency.
    pub better: BTreeMap<usize, u64>,
    /// Random passages that each was compared with.
    pub passages: u64,
}

impl Scores {
    fn add(&mut self, score: f32, better: Option<usize>) {
        *self.hundredths.entry((100.0 * score).floor() as i32).or_default() += 1;
        better.into_iter().for_each(|better| *self.better.entry(better).or_default() += 1);
    }

    fn merge(&mut self, other: &Self) {
        other.hundredths.iter().for_each(|(score, count)| *self.hundredths.entry(*score).or_default() += count);
        other.better.iter().for_each(|(better, count)| *self.better.entry(*better).or_default() += count);
    }
}

/// Finds the rows of `units` that go. The recipe's paths are relative to `base`. `scratch` is a folder of its own,
/// whose content nobody needs afterwards but the files of [`Found::dropped`]; what a killed process left there is gone
/// on with.
///
/// # Errors
/// Ranks failed, with their exit code. The operating system's.
pub fn find(units: Units, recipe: &RelevanceRecipe, base: &Path, scratch: &Path) -> Result<Found, CurateError> {
    find_by(&Tercet::find()?, units, recipe, base, scratch)
}

fn find_by(
    tercet: &Tercet,
    units: Units,
    recipe: &RelevanceRecipe,
    base: &Path,
    scratch: &Path,
) -> Result<Found, CurateError> {
    let mut found = Found::default();
    found.dropped.reasons = vec![LOW_RELEVANCE, INCONSISTENT];
    found.dropped.units = (0..units.rows.len()).map(|unit| scratch.join(format!("dropped/{unit:06}"))).collect();
    make_folder(&scratch.join("dropped"))?;
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
    let ranks = judged::Ranks { tercet, recipe, base, index: index.as_deref() };
    for first in (0..units.rows.len()).step_by(UNITS_AT_A_TIME) {
        let group = first..units.rows.len().min(first + UNITS_AT_A_TIME);
        found.scores.merge(&judged::judge(&ranks, units, group, scratch, &found.dropped.units)?);
    }
    Ok(found)
}

fn make_folder(path: &Path) -> Result<(), CurateError> {
    fs::create_dir_all(path).map_err(CurateError::io(path))
}
