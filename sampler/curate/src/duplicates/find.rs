//! The search through all units' keys, and what it says of each unit.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::benchmarks::{Benchmark, benchmarks};
use super::contamination::{BLOCK, Hits, write_keys};
use super::keys::RowLayout;
use super::marks::{MarkedRows, Marks, marked_bytes};
use super::recipe::{DuplicatesRecipe, Near};
use super::repeated::{KeysOf, mark_repeated};
use super::spans::{Span, Units, in_threads};
use crate::error::CurateError;
use crate::reason::Reason;

/// What [`find`] found: for each reason a number, and for each unit the rows that go.
#[derive(Debug, Default)]
pub struct Found {
    /// The reasons, in the order of precedence: the benchmarks, `exact_duplicate`, `near_duplicate`.
    pub reasons: Vec<Reason>,
    /// For each unit, in the order of the units, the file with its rows to drop, which [`dropped_rows`] reads.
    pub units: Vec<PathBuf>,
}

/// Finds the rows to drop among `units`, the files of keys in the order of precedence: of equal rows the first stays.
/// `base` is what paths of the recipe are relative to. `scratch` is a folder of its own: what is in it is removed, and
/// nobody needs afterwards but [`Found::units`] what is put there.
///
/// # Errors
/// The operating system's. A benchmark of `against` is none, or cannot be read. A unit's keys are not complete, or of
/// another recipe.
pub fn find(
    units: &[PathBuf],
    recipe: &DuplicatesRecipe,
    base: &Path,
    scratch: &Path,
    threads: usize,
) -> Result<Found, CurateError> {
    let benchmarks = benchmarks(&recipe.against, base)?;
    if scratch.exists() {
        fs::remove_dir_all(scratch).map_err(CurateError::io(scratch))?;
    }
    fs::create_dir_all(scratch).map_err(CurateError::io(scratch))?;
    let layout = RowLayout::of(recipe);
    let files = units.iter().map(|unit| layout.open(unit)).collect::<Result<Vec<_>, _>>()?;
    let units = Units::of(&files);

    let hits = match benchmarks.is_empty() {
        true => None,
        false => {
            let keys = write_keys(&benchmarks, recipe, scratch, threads)?;
            Some(Hits::find(&units, &layout, &keys, BLOCK, (scratch, threads))?)
        }
    };
    let [exact, near] = [(); 2].map(|()| Marks::new(units.rows()));
    if recipe.exact {
        mark_repeated(&units, &Pairs(&units, &layout), &exact, scratch, threads)?;
    }
    if recipe.near != Near::None {
        for band in 0..recipe.bands {
            mark_repeated(&units, &Band(&units, &layout, band), &near, scratch, threads)?;
        }
    }

    let path = |unit: usize| scratch.join(format!("dropped-{unit:05}"));
    let reasons = reasons(&benchmarks)?;
    let of_texts = benchmarks.len() as u16;
    let marks = [(&exact, of_texts), (&near, of_texts + 1)];
    let write = |(): &mut (), unit: usize| {
        let contaminated = hits.as_ref().map_or(Ok(Vec::new()), |hits| hits.of_unit(unit))?;
        write_dropped(&path(unit), &contaminated, (units.start(unit), files[unit].rows), marks)
    };
    in_threads(threads, files.len(), || (), write, Ok)?;
    Ok(Found { reasons, units: (0..files.len()).map(path).collect() })
}

/// Rows to drop, by number within their unit, ascending, with the index of the reason.
///
/// # Errors
/// The operating system's; so has each row.
pub fn dropped_rows(file: &Path) -> Result<MarkedRows, CurateError> {
    MarkedRows::open(file)
}

fn reasons(benchmarks: &[Benchmark]) -> Result<Vec<Reason>, CurateError> {
    let mut reasons: Vec<Reason> = benchmarks.iter().map(|one| Reason::about("contaminated", &one.name)).collect();
    reasons.extend([Reason::new("exact_duplicate"), Reason::new("near_duplicate")]);
    match reasons.len() > usize::from(u16::MAX) {
        true => Err(CurateError::Usage(format!("duplicates.against: {} benchmarks are too many", benchmarks.len()))),
        false => Ok(reasons),
    }
}

/// Writes what goes of a unit of `rows` rows, the first of which has the number `start` among all.
fn write_dropped(
    path: &Path,
    contaminated: &[(u32, u16)],
    (start, rows): (u64, u64),
    marks: [(&Marks, u16); 2],
) -> Result<(), CurateError> {
    let mut file = BufWriter::new(File::create(path).map_err(CurateError::io(path))?);
    let mut contaminated = contaminated.iter().copied().peekable();
    // A unit has fewer than 2^32 rows.
    for row in 0..rows as u32 {
        let of_text = contaminated.next_if(|(next, _)| *next == row).map(|(_, benchmark)| benchmark);
        let marked = || marks.iter().find(|(marks, _)| marks.has(start + u64::from(row))).map(|(_, reason)| *reason);
        if let Some(reason) = of_text.or_else(marked) {
            file.write_all(&marked_bytes((row, reason))).map_err(CurateError::io(path))?;
        }
    }
    file.flush().map_err(CurateError::io(path))
}

/// The column of whole pairs.
struct Pairs<'a>(&'a Units<'a>, &'a RowLayout);

impl KeysOf<2> for Pairs<'_> {
    fn visit(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(u64, [u64; 2]) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let Self(units, layout) = self;
        let columns = units.files[span.unit].columns()?;
        let mut keys = Vec::new();
        for chunk in span.chunks.clone() {
            layout.pairs(&columns, chunk, &mut keys)?;
            let mut rows = columns.rows(chunk).zip(&keys);
            rows.try_for_each(|(row, key)| visit(units.start(span.unit) + row, *key))?;
        }
        Ok(())
    }
}

/// The column of a band.
struct Band<'a>(&'a Units<'a>, &'a RowLayout, usize);

impl KeysOf<1> for Band<'_> {
    fn visit(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(u64, [u64; 1]) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let Self(units, layout, band) = self;
        let file = &units.files[span.unit];
        let columns = file.columns()?;
        let mut keys = Vec::new();
        for chunk in span.chunks.clone() {
            layout.band((&columns, file.compared), chunk, *band, &mut keys)?;
            let mut rows = columns.rows(chunk).zip(&keys);
            rows.try_for_each(|(row, key)| visit(units.start(span.unit) + row, *key))?;
        }
        Ok(())
    }
}
