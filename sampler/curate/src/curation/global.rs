//! What is decided by looking at all rows: duplicates, texts of benchmarks, a model's judgment.

use std::fs::{self, File};

use super::place::{Place, to_json};
use super::reading::{keys_of, rows_of};
use super::recipe::Recipe;
use super::units::Unit;
use crate::duplicates::{self, Found, dropped_rows};
use crate::error::CurateError;
use crate::reason::Reason;
use crate::relevance::{self, Scores};

/// Which rows of each unit go.
#[derive(Debug)]
pub struct Dropped {
    found: Vec<Found>,
    /// How the pairs score that a model was asked about.
    pub scores: Option<Scores>,
}

impl Dropped {
    /// The rows of unit `number` that go, ascending, each with its first reason.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of_unit(&self, number: usize) -> Result<Vec<(u32, &Reason)>, CurateError> {
        let mut all: Vec<(u32, &Reason)> = Vec::new();
        for found in &self.found {
            for dropped in dropped_rows(&found.units[number])? {
                let (row, reason) = dropped?;
                all.push((row, &found.reasons[usize::from(reason)]));
            }
        }
        // Stable: what was found first stays first.
        all.sort_by_key(|(row, _)| *row);
        all.dedup_by_key(|(row, _)| *row);
        Ok(all)
    }
}

/// Finds what goes of `units`, which are all read.
///
/// # Errors
/// A benchmark cannot be read, ranks failed; the operating system's.
pub fn find(units: &[Unit], recipe: &Recipe, place: &Place, jobs: usize) -> Result<Dropped, CurateError> {
    let duplicates = once(place, "duplicates", || {
        let keys: Vec<_> = units.iter().map(|unit| keys_of(place, unit)).collect();
        duplicates::find(&keys, &recipe.duplicates, &recipe.base, &place.work("duplicates")?, jobs)
    })?;
    let mut dropped = Dropped { found: vec![duplicates], scores: None };
    if let Some(relevance) = &recipe.relevance {
        let rows: Vec<_> = units.iter().map(|unit| rows_of(place, unit)).collect();
        let of_unit = |unit: usize| Ok(dropped.of_unit(unit)?.into_iter().map(|(row, _)| row).collect());
        let units = relevance::Units { rows: &rows, dropped: &of_unit };
        let found = relevance::find(units, relevance, &recipe.base, &place.work("relevance")?)?;
        dropped.found.push(found.dropped);
        dropped.scores = Some(found.scores);
    }
    Ok(dropped)
}

/// What `find` finds, which is kept: a command that is typed again does not look again.
fn once(place: &Place, name: &str, find: impl FnOnce() -> Result<Found, CurateError>) -> Result<Found, CurateError> {
    let path = place.work("")?.join(format!("{name}.json"));
    if let Ok(bytes) = fs::read(&path) {
        return serde_json::from_slice(&bytes).map_err(|error| CurateError::data(&path, error.to_string()));
    }
    let found = find()?;
    // What says that they are there must not outlive them, not even where the power fails.
    for file in &found.units {
        File::open(file).and_then(|file| file.sync_all()).map_err(CurateError::io(file))?;
    }
    tercet_sampler::write_durably(&path, &to_json(&found)).map_err(CurateError::io(&path))?;
    Ok(found)
}
