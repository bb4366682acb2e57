//! The rows that stay, one file a source, and what became of the others.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;
use tercet_sampler::{LineReader, LinesOf, PackedWriter, TextTokenizer, json_object, utf8};

use super::accounts::Accounts;
use super::global::Dropped;
use super::parallel;
use super::place::{DROPPED, Place, ROWS, sync};
use super::reading::{Counted, UNKNOWN, counted, rows_of};
use super::recipe::Recipe;
use super::samples::{Sample, Samples};
use super::units::Unit;
use crate::error::CurateError;
use crate::output::{Partial, WholeFile};

/// A line of a unit's rows.
#[derive(Debug, Deserialize)]
struct Line {
    query: String,
    pos: [String; 1],
    lang: Option<String>,
}

/// What there is when all is written.
#[derive(Debug)]
pub struct Written {
    /// The accounts of each source.
    pub accounts: Vec<Accounts>,
    /// The bytes of each file, by its name below the folder of the curation.
    pub files: BTreeMap<String, u64>,
}

/// Writes what stays, and some of what goes.
///
/// # Errors
/// The operating system's.
pub fn write(
    units: &[Unit],
    (recipe, tokenizer): (&Recipe, Option<&TextTokenizer>),
    place: &Place,
    dropped: &Dropped,
    jobs: usize,
) -> Result<Written, CurateError> {
    let final_rows = place.work("rows")?;
    let path = |unit: &Unit| final_rows.join(format!("{:06}.jsonl.zst", unit.number));
    let sums = Mutex::new((vec![Accounts::default(); recipe.source.len()], Samples::default()));
    parallel::map(units, jobs, |unit| {
        let Counted { accounts, samples, .. } = write_unit(unit, (recipe, tokenizer), place, dropped, &path(unit))?;
        // Nobody panics while holding it. Sums and smallest hashes do not depend on the order.
        let mut sums = sums.lock().expect("no panic");
        sums.0[unit.source].merge(&accounts);
        sums.1.merge(samples);
        Ok::<_, CurateError>(())
    })?;
    let (accounts, samples) = sums.into_inner().expect("no panic");
    let mut files = BTreeMap::new();
    let mut add = |folder: &str, name: String, path: &Path| {
        let bytes = path.metadata().map_err(CurateError::io(path))?.len();
        files.insert(format!("{folder}/{name}"), bytes);
        Ok::<_, CurateError>(())
    };
    let rows = place.folder(ROWS)?;
    for (index, source) in recipe.source.iter().enumerate() {
        let parts: Vec<PathBuf> = units.iter().filter(|unit| unit.source == index).map(path).collect();
        let name = format!("{}.jsonl.zst", source.name);
        let path = rows.join(&name);
        join(&parts, &path)?;
        add(ROWS, name, &path)?;
    }
    let folder = place.folder(DROPPED)?;
    for (reason, samples) in samples.0 {
        let name = format!("{reason}.jsonl");
        let path = folder.join(&name);
        let mut file = WholeFile::create(&path)?;
        samples.iter().try_for_each(|sample| file.object(&sample.shown()))?;
        file.finish()?;
        add(DROPPED, name, &path)?;
    }
    sync(&rows)?;
    sync(&folder)?;
    Ok(Written { accounts, files })
}

fn write_unit(
    unit: &Unit,
    (recipe, tokenizer): (&Recipe, Option<&TextTokenizer>),
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
    let mut goes = dropped.of_unit(unit.number)?.peekable();
    let (mut bytes, mut number) = (Vec::new(), 0);
    while reader.read_line(&mut bytes)?.is_some() {
        let line: Line = utf8(&bytes).and_then(json_object).map_err(|reason| CurateError::data(&rows, reason))?;
        let (query, [passage], language) = (&*line.query, &line.pos, line.lang.as_deref().unwrap_or(UNKNOWN));
        match goes.next_if(|next| next.as_ref().map_or(true, |(row, _)| *row == number)).transpose()? {
            Some((_, reason)) => {
                accounts.dropped(language, reason);
                samples
                    .add(reason, Some(query), passage, || Sample::new(&source.name, at(number), Some(query), passage));
            }
            None => {
                let texts = [query, passage];
                let tokens = tokenizer.map(|tokenizer| num_tokens(tokenizer, texts)).transpose()?;
                accounts.kept(language, texts, tokens);
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

/// The tokens of each text, without special ones.
fn num_tokens(tokenizer: &TextTokenizer, texts: [&str; 2]) -> Result<[u64; 2], CurateError> {
    let count = |text| match tokenizer.encode_content(text) {
        Ok(tokens) => Ok(tokens.len() as u64),
        Err(error) => Err(CurateError::Usage(format!("tokenizer: {}", tercet_configs::error_line(&error)))),
    };
    let [query, passage] = texts;
    Ok([count(query)?, count(passage)?])
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
