//! What is decided by looking at all rows: duplicates, texts of benchmarks, a model's judgment.

use std::fs::{self, File};
use std::io;
use std::iter::Peekable;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::place::{Place, sync, to_json};
use super::reading::{keys_of, rows_of};
use super::recipe::Recipe;
use super::units::Unit;
use crate::duplicates::{self, Found, MarkedRows, dropped_rows};
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
    /// The rows of unit `number` that go, one at a time as they may be many.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of_unit(&self, number: usize) -> Result<DroppedRows<'_>, CurateError> {
        let of_file = |found: &'_ Found| dropped_rows(&found.units[number]).map(Iterator::peekable);
        let each = self.found.iter().map(|found| Ok((found.reasons.as_slice(), of_file(found)?)));
        each.collect::<Result<_, CurateError>>().map(DroppedRows)
    }
}

/// Rows of a unit, ascending, each with its first reason. They are of several files, of which the first counts.
#[derive(Debug)]
pub struct DroppedRows<'a>(Vec<(&'a [Reason], Peekable<MarkedRows>)>);

impl<'a> Iterator for DroppedRows<'a> {
    type Item = Result<(u32, &'a Reason), CurateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut least = None;
        for (_, rows) in &mut self.0 {
            match rows.peek() {
                Some(Ok((row, _))) => least = Some(least.map_or(*row, |least: u32| least.min(*row))),
                Some(Err(_)) => return rows.next()?.err().map(Err),
                None => {}
            }
        }
        let (least, mut first) = (least?, None);
        for (reasons, rows) in &mut self.0 {
            let is_it = |next: &Result<(u32, u16), _>| next.as_ref().is_ok_and(|(row, _)| *row == least);
            if let Some(Ok((_, reason))) = rows.next_if(is_it) {
                first.get_or_insert(&reasons[usize::from(reason)]);
            }
        }
        Some(Ok((least, first?)))
    }
}

/// Finds what goes of `units`, which are all read.
///
/// # Errors
/// A benchmark cannot be read, ranks failed; the operating system's.
pub fn find(units: &[Unit], recipe: &Recipe, place: &Place, jobs: usize) -> Result<Dropped, CurateError> {
    let mut dropped = Dropped { found: vec![duplicates(units, recipe, place, jobs)?], scores: None };
    if let Some(relevance) = &recipe.relevance {
        let rows: Vec<_> = units.iter().map(|unit| rows_of(place, unit)).collect();
        let of_unit = |unit: usize| {
            let numbers = dropped.of_unit(unit)?.map(|dropped| dropped.map(|(row, _)| row));
            Ok(Box::new(numbers) as relevance::Numbers<'_>)
        };
        let units = relevance::Units { rows: &rows, dropped: &of_unit };
        let found = relevance::find(units, relevance, &recipe.base, &place.work("relevance")?)?;
        dropped.found.push(found.dropped);
        dropped.scores = Some(found.scores);
    }
    Ok(dropped)
}

/// What is kept of duplicates that were found.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    reasons: Vec<Reason>,
    /// For each unit the name of its file in the folder of duplicates.
    files: Vec<String>,
}

/// Duplicates and benchmarks' texts. They are kept, so a command that is typed again does not look again.
fn duplicates(units: &[Unit], recipe: &Recipe, place: &Place, jobs: usize) -> Result<Found, CurateError> {
    let (path, scratch) = (place.work("")?.join("duplicates.json"), place.work("duplicates")?);
    let keys: Vec<_> = units.iter().map(|unit| keys_of(place, unit)).collect();
    let found = match fs::read(&path) {
        Ok(bytes) => {
            let kept = serde_json::from_slice(&bytes).map_err(|error| CurateError::data(&path, error.to_string()));
            let Kept { reasons, files } = kept?;
            Found { reasons, units: files.iter().map(|file| scratch.join(file)).collect() }
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(CurateError::io(&path)(error)),
        Err(_) => {
            let found = duplicates::find(&keys, &recipe.duplicates, &recipe.base, &scratch, jobs)?;
            // What says that they are there must not outlive them, not even where the power fails.
            for file in &found.units {
                File::open(file).and_then(|file| file.sync_all()).map_err(CurateError::io(file))?;
            }
            sync(&scratch)?;
            let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kept = Kept { reasons: found.reasons.clone(), files: found.units.iter().map(name).collect() };
            tercet_sampler::write_durably(&path, &to_json(&kept)).map_err(CurateError::io(&path))?;
            found
        }
    };
    // Nobody needs them any more, and they are as large as the rows.
    for keys in keys {
        match fs::remove_file(&keys) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(CurateError::io(&keys)(error)),
            _ => {}
        }
    }
    Ok(found)
}
