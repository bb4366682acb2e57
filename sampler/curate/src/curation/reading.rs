//! The files of sources, to rows and keys.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};
use tercet_sampler::ReadAt;

use super::accounts::Accounts;
use super::parallel;
use super::place::{KEYS, Place, remove, to_json};
use super::recipe::Recipe;
use super::samples::{Sample, Samples};
use super::units::Unit;
use crate::duplicates::{Queries, UnitKeys, benchmarks};
use crate::error::CurateError;
use crate::filters::{Filters, Judged};
use crate::input::Refusal;
use crate::output::{Partial, WholeFile};
use crate::reason::Reason;
use crate::sources::{Offered, Source};

/// The rows of a unit, one a line: [`RowLine`].
const ROWS: &str = "rows.jsonl.zst";
const COUNTS: &str = "counts.json";

/// The longest text of a row. Escaped as JSON, both fit a line that can be read.
const MOST_BYTES: usize = 5 << 20;
const TOO_LONG: Reason = Reason::new("too_long");

/// Rows of a unit at most, so that a row's number has 32 bits.
const MOST_ROWS: u32 = u32::MAX;

/// What is known of a unit once it is read.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Rows that filters left.
    pub rows: u32,
    /// For each file, how many of them are of files before it.
    pub starts: Vec<u32>,
    /// What filters dropped.
    pub accounts: Accounts,
    /// Some of that.
    pub samples: Samples,
}

/// A row as training reads it.
#[derive(Debug, Serialize)]
pub struct RowLine<'a> {
    /// The query.
    pub query: &'a str,
    /// The passage.
    pub pos: [&'a str; 1],
    /// The passage's language, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<&'a str>,
}

/// Where the rows of a read unit are.
pub fn rows_of(place: &Place, unit: &Unit) -> PathBuf {
    place.of_unit(unit).join(ROWS)
}

/// Where the keys of a read unit are.
pub fn keys_of(place: &Place, unit: &Unit) -> PathBuf {
    place.of_unit(unit).join(KEYS)
}

/// What was counted when a unit was read.
///
/// # Errors
/// It is not there, or is no such file.
pub fn counted(place: &Place, unit: &Unit) -> Result<Counted, CurateError> {
    let path = place.of_unit(unit).join(COUNTS);
    let bytes = fs::read(&path).map_err(CurateError::io(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| CurateError::data(&path, error.to_string()))
}

/// Reads those of `units` that are not read yet, `jobs` at the same time.
///
/// # Errors
/// A file cannot be read or is not what its source says; so can a benchmark. The operating system's.
pub fn read(
    units: &[&Unit],
    recipe: &Recipe,
    filters: &[Arc<Filters>],
    place: &Place,
    (first, jobs): (Option<u64>, usize),
) -> Result<(), CurateError> {
    place.work("units")?;
    let queries = Queries::of(&benchmarks(&recipe.duplicates.against, &recipe.base)?)?;
    let left: Vec<&Unit> = units.iter().filter(|unit| !place.of_unit(unit).exists()).copied().collect();
    let files = |units: &[&Unit]| units.iter().map(|unit| unit.files.len()).sum::<usize>();
    let (read, all) = (AtomicUsize::new(files(units) - files(&left)), files(units));
    parallel::map(&left, jobs, |unit| {
        let _lock = place.lock_unit(unit)?;
        // Another share may have it by now.
        if place.of_unit(unit).exists() {
            return Ok(());
        }
        let counted = read_unit(unit, (recipe, &queries), &filters[unit.source], place, first)?;
        let number = unit.files.len() + read.fetch_add(unit.files.len(), Ordering::Relaxed);
        let (kept, offered) = (counted.rows, u64::from(counted.rows) + counted.accounts.num_offered());
        let source = &recipe.source[unit.source].name;
        // Nobody is left to be told that standard error is closed.
        _ = writeln!(
            io::stderr(),
            "tercet: {number} of {all} files read; of {offered} pairs of {source} filters kept {kept}"
        );
        Ok::<_, CurateError>(())
    })?;
    Ok(())
}

fn read_unit(
    unit: &Unit,
    (recipe, queries): (&Recipe, &Queries),
    filters: &Filters,
    place: &Place,
    first: Option<u64>,
) -> Result<Counted, CurateError> {
    let source = &recipe.source[unit.source];
    let partial = Partial::of(&place.of_unit(unit));
    let dir = partial.place();
    remove(dir)?;
    fs::create_dir_all(dir).map_err(CurateError::io(dir))?;
    let mut rows = WholeFile::create(&dir.join(ROWS))?;
    let mut keys = UnitKeys::create(&dir.join(KEYS), (&recipe.duplicates, queries), source.compared())?;
    let mut counted = Counted::default();
    for (file, _) in &unit.files {
        counted.starts.push(counted.rows);
        read_file(file, source, filters, first, (&mut rows, &mut keys, &mut counted))?;
    }
    rows.finish()?;
    keys.finish()?;
    let counts = dir.join(COUNTS);
    tercet_sampler::write_durably(&counts, &to_json(&counted)).map_err(CurateError::io(&counts))?;
    partial.name().map_err(CurateError::io(&place.of_unit(unit)))?;
    Ok(counted)
}

fn read_file(
    file: &Path,
    source: &Source,
    filters: &Filters,
    first: Option<u64>,
    (rows, keys, counted): (&mut WholeFile, &mut UnitKeys<'_>, &mut Counted),
) -> Result<(), CurateError> {
    let (mut records, mut last, mut any) = (0, None, false);
    source.read(file, &mut |at: &ReadAt, offered: Offered| {
        any = true;
        if let Some(first) = first {
            // A record may give several pairs.
            records += u64::from(last.as_ref() != Some(at));
            last = Some(at.clone());
            if records > first {
                return Err(Refusal::Enough);
            }
        }
        let Counted { rows: number, accounts, samples, .. } = &mut *counted;
        match offered {
            Offered::Dropped(reason, text) => {
                accounts.no_pair(&reason);
                samples.add(&reason, None, &text, || Sample::new(&source.name, at.to_string(), None, &text));
                Ok(())
            }
            Offered::Pair(pair) => {
                if pair.query.len().max(pair.passage.len()) > MOST_BYTES {
                    accounts.no_pair(&TOO_LONG);
                    let (at, text) = (at.to_string(), pair.query.as_str());
                    samples.add(&TOO_LONG, None, text, || Sample::new(&source.name, at, None, text));
                    return Ok(());
                }
                let Judged { language, broken, passage: cleaned } = filters.judge(&pair);
                let (query, passage) = (pair.query.as_str(), cleaned.as_deref().unwrap_or(&pair.passage));
                if let Some(reason) = broken {
                    accounts.dropped(&language, &reason);
                    let sample = || Sample::new(&source.name, at.to_string(), Some(query), passage);
                    samples.add(&reason, Some(query), passage, sample);
                    return Ok(());
                }
                if *number == MOST_ROWS {
                    let reason = format!("more than {MOST_ROWS} rows: cut it into several files");
                    return Err(CurateError::data(file, reason).into());
                }
                *number += 1;
                let lang = (language != UNKNOWN).then_some(language.as_str());
                rows.object(&RowLine { query, pos: [passage], lang })?;
                Ok(keys.add(query, passage)?)
            }
        }
    })?;
    if !any {
        // Nobody is left to be told that standard error is closed.
        _ = writeln!(io::stderr(), "tercet: warning: {} holds no record: is it what it should be?", file.display());
    }
    Ok(())
}

/// The language of what has none.
pub const UNKNOWN: &str = "und";
