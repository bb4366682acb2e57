//! Some units' rows, scored by ranks and judged by what the recipe says.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tercet_protocol::says::score::RowScores;
use tercet_sampler::{LineReader, LinesOf, json_object, utf8, write_durably};

use super::recipe::RelevanceRecipe;
use super::rows::{Scores, Units, make_folder};
use super::tercet::Tercet;
use crate::error::CurateError;
use crate::output::{Partial, WholeFile};

/// Who scores, and by what.
pub(super) struct Ranks<'a> {
    pub tercet: &'a Tercet,
    pub recipe: &'a RelevanceRecipe,
    /// The folder to which the recipe's paths are relative.
    pub base: &'a Path,
    /// The index of random passages, if there is one.
    pub index: Option<&'a Path>,
}

/// Writes, for each unit of `group`, the rows that go to its file of `dropped`; and how pairs score. Nothing of a group
/// that is done is done again.
///
/// # Errors
/// Ranks failed. The operating system's.
pub(super) fn judge(
    ranks: &Ranks,
    units: Units,
    group: Range<usize>,
    scratch: &Path,
    dropped: &[PathBuf],
) -> Result<Scores, CurateError> {
    let of_group = |name: &str| scratch.join(format!("{name}-{:06}", group.start));
    let (asked, scored, done) = (of_group("asked"), of_group("scores"), of_group("counts"));
    let scores = match fs::read(&done) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| CurateError::data(&done, error.to_string()))?,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(CurateError::io(&done)(error)),
        Err(_) => {
            make_folder(&asked)?;
            let (mut own, mut files) = (Vec::new(), Vec::new());
            for unit in group {
                let path = asked.join(format!("{unit:06}.jsonl.zst"));
                match write_asked(units, unit, &path)? {
                    true => {
                        own.push((unit, scored.join(path.file_name().unwrap_or_default())));
                        files.push(path);
                    }
                    false => write(&dropped[unit], &[])?,
                }
            }
            if !files.is_empty() {
                ranks.tercet.run("score", ranks.recipe.score_words(ranks.base, &files, ranks.index, &scored))?;
            }
            let mut scores = Scores::default();
            for (unit, scored) in own {
                write_goes(units, unit, &scored, (ranks.recipe, dropped[unit].as_path()), &mut scores)?;
            }
            // Plain numbers always have a form.
            write(&done, &serde_json::to_vec(&scores).unwrap_or_default())?;
            scores
        }
    };
    for folder in [asked, scored] {
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(CurateError::io(&folder))?;
        }
    }
    Ok(scores)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CurateError> {
    write_durably(path, bytes).map_err(CurateError::io(path))
}

/// Copies the rows of a unit that are asked about to `path`, unless they are there. Whether there are any.
fn write_asked(units: Units, unit: usize, path: &Path) -> Result<bool, CurateError> {
    if path.exists() {
        return Ok(true);
    }
    let mut file = None;
    units.for_each_row(unit, |_, line| {
        let file = match &mut file {
            Some(file) => file,
            empty => empty.insert(WholeFile::create(path)?),
        };
        file.line(line)
    })?;
    let is_asked = file.is_some();
    file.map_or(Ok(()), WholeFile::finish)?;
    Ok(is_asked)
}

/// Writes the rows of a unit that go to `path`, as [`crate::duplicates::dropped_rows`] reads them: each one's number
/// and its reason's.
fn write_goes(
    units: Units,
    unit: usize,
    scored: &Path,
    (recipe, path): (&RelevanceRecipe, &Path),
    scores: &mut Scores,
) -> Result<(), CurateError> {
    let mut reader = LineReader::open(scored, LinesOf::Objects)?;
    let partial = Partial::of(path);
    let mut goes = BufWriter::new(File::create(partial.place()).map_err(CurateError::io(path))?);
    let mut of_row = Vec::new();
    units.for_each_row(unit, |number, _| {
        let wrong = |reason: String| CurateError::data(scored, reason);
        if reader.read_line(&mut of_row)?.is_none() {
            return Err(wrong("ends before its rows do: remove it, and type the command again".into()));
        }
        let row: RowScores = utf8(&of_row).and_then(json_object).map_err(wrong)?;
        // Every row that was asked about has one positive.
        let [score] = row.pos_scores[..] else {
            return Err(wrong(format!("a row has {} scores, and one positive", row.pos_scores.len())));
        };
        let better = row.better.and_then(|better| better.first().copied());
        scores.add(score, better);
        let is_low = recipe.min_score.is_some_and(|least| f64::from(score) < least);
        let top = recipe.consistency.map(|consistency| consistency.top.get());
        let is_inconsistent = better.zip(top).is_some_and(|(better, top)| better >= top);
        if let Some(reason) = if is_low { Some(0_u16) } else { is_inconsistent.then_some(1) } {
            let written = goes.write_all(&number.to_le_bytes()).and_then(|()| goes.write_all(&reason.to_le_bytes()));
            written.map_err(CurateError::io(path))?;
        }
        Ok(())
    })?;
    let written = goes.flush().and_then(|()| goes.get_ref().sync_all()).and_then(|()| partial.name());
    written.map_err(CurateError::io(path))
}
