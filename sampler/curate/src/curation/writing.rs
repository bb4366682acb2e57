//! The rows that stay, one file a source, and what became of the others.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;
use tercet_sampler::{LineReader, LinesOf, PackedWriter, json_object, utf8};

use super::accounts::Accounts;
use super::global::Dropped;
use super::parallel;
use super::place::{Place, sync};
use super::reading::{Counted, UNKNOWN, counted, rows_of};
use super::recipe::Recipe;
use super::samples::{Sample, Samples};
use super::units::Unit;
use crate::error::CurateError;
use crate::output::{Partial, WholeFile};

/// The folder of rows, with a file for each source.
pub const ROWS: &str = "rows";
/// The folder of what was dropped, with a file for each reason.
pub const DROPPED: &str = "dropped";

/// A line of a unit's rows.
#[derive(Debug, Deserialize)]
struct Line {
    query: String,
    pos: [String; 1],
    lang: Option<String>,
}

/// Writes what stays, and some of what goes, and returns the accounts of each source.
///
/// # Errors
/// The operating system's.
pub fn write(
    units: &[Unit],
    recipe: &Recipe,
    place: &Place,
    dropped: &Dropped,
    jobs: usize,
) -> Result<Vec<Accounts>, CurateError> {
    let final_rows = place.work("rows")?;
    let path = |unit: &Unit| final_rows.join(format!("{:06}.jsonl.zst", unit.number));
    let sums = Mutex::new((vec![Accounts::default(); recipe.source.len()], Samples::default()));
    parallel::map(units, jobs, |unit| {
        let Counted { accounts, samples, .. } = write_unit(unit, recipe, place, dropped, &path(unit))?;
        // Nobody panics while holding it. Sums and smallest hashes do not depend on the order.
        let mut sums = sums.lock().expect("no panic");
        sums.0[unit.source].merge(&accounts);
        sums.1.merge(samples);
        Ok::<_, CurateError>(())
    })?;
    let (accounts, samples) = sums.into_inner().expect("no panic");
    let rows = place.folder(ROWS)?;
    for (index, source) in recipe.source.iter().enumerate() {
        let parts: Vec<PathBuf> = units.iter().filter(|unit| unit.source == index).map(path).collect();
        join(&parts, &rows.join(format!("{}.jsonl.zst", source.name)))?;
    }
    let folder = place.folder(DROPPED)?;
    for (reason, samples) in samples.0 {
        let mut file = WholeFile::create(&folder.join(format!("{reason}.jsonl")))?;
        samples.iter().try_for_each(|sample| file.object(&sample.shown()))?;
        file.finish()?;
    }
    sync(&rows)?;
    sync(&folder)?;
    Ok(accounts)
}

fn write_unit(
    unit: &Unit,
    recipe: &Recipe,
    place: &Place,
    dropped: &Dropped,
    path: &Path,
) -> Result<Counted, CurateError> {
    let source = &recipe.source[unit.source];
    let mut counted = counted(place, unit)?;
    let counted_rows = counted.rows;
    let Counted { accounts, samples, starts, .. } = &mut counted;
    let at = |number: u32| {
        let file = starts.partition_point(|start| *start <= number) - 1;
        let row = u64::from(number - starts[file]) + 1;
        format!("{}: row {row} of those that filters kept", unit.files[file].0.display())
    };
    let rows = rows_of(place, unit);
    let mut reader = LineReader::open(&rows, LinesOf::Objects)?;
    let file = File::create(path).map_err(CurateError::io(path))?;
    let mut writer = PackedWriter::new(path, BufWriter::with_capacity(1 << 20, file)).map_err(CurateError::io(path))?;
    let mut goes = dropped.of_unit(unit.number)?.into_iter().peekable();
    let (mut bytes, mut number) = (Vec::new(), 0);
    while reader.read_line(&mut bytes)?.is_some() {
        let line: Line = utf8(&bytes).and_then(json_object).map_err(|reason| CurateError::data(&rows, reason))?;
        let (query, [passage], language) = (&*line.query, &line.pos, line.lang.as_deref().unwrap_or(UNKNOWN));
        match goes.next_if(|(row, _)| *row == number) {
            Some((_, reason)) => {
                accounts.dropped(language, reason);
                samples
                    .add(reason, Some(query), passage, || Sample::new(&source.name, at(number), Some(query), passage));
            }
            None => {
                accounts.kept(language, query, passage);
                bytes.push(b'\n');
                writer.write_all(&bytes).map_err(CurateError::io(path))?;
            }
        }
        number += 1;
    }
    if number != counted_rows || goes.next().is_some() {
        let reason = "has other rows than were counted: remove the folder \"work\" that it is in";
        return Err(CurateError::data(&rows, reason));
    }
    let flushed = writer.finish().and_then(|mut file| file.flush());
    flushed.map_err(CurateError::io(path))?;
    Ok(counted)
}

/// Writes the content of `parts` one after the other to `path`: packed files, each of which ends by itself, are one.
fn join(parts: &[PathBuf], path: &Path) -> Result<(), CurateError> {
    let partial = Partial::of(path);
    let mut whole = File::create(partial.place()).map_err(CurateError::io(partial.place()))?;
    for part in parts {
        let mut file = File::open(part).map_err(CurateError::io(part))?;
        io::copy(&mut file, &mut whole).map_err(CurateError::io(partial.place()))?;
    }
    whole.sync_all().and_then(|()| partial.name()).map_err(CurateError::io(path))
}
