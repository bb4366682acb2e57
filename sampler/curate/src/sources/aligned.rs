//! Files that belong together line by line, as OPUS has its corpora in Moses' format: `CCMatrix.de-fr.de` and
//! `CCMatrix.de-fr.fr`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use tercet_sampler::{LineReader, LinesOf, ReadAt, RowError, plain_or_packed, unpacked_name};

use super::offers::Offers;
use super::records::Columns;
use crate::error::CurateError;
use crate::input::{Refusal, next_line};

/// The files that belong to `file`, itself first: the same name with the other endings, packed or not.
///
/// # Errors
/// The name has another ending, or one of the files is not there. The error is the reason alone.
pub(super) fn partners(file: &Path, endings: &[String]) -> Result<Vec<PathBuf>, String> {
    let unpacked = unpacked_name(file).to_string_lossy().into_owned();
    let Some(stem) = unpacked.strip_suffix(&format!(".{}", endings[0])) else {
        return Err(format!("the name of {} does not end with .{}", file.display(), endings[0]));
    };
    let others = endings[1..].iter().map(|ending| {
        let other = plain_or_packed(&PathBuf::from(format!("{stem}.{ending}")));
        match other.is_file() {
            true => Ok(other),
            false => Err(format!("{} belongs to {} and is not there", other.display(), file.display())),
        }
    });
    std::iter::once(Ok(file.to_owned())).chain(others).collect()
}

/// Offers what the lines of `file` and of those that belong to it give together.
pub(super) fn read(file: &Path, endings: &[String], columns: &Columns, offers: &mut Offers<'_>) -> Result<(), Refusal> {
    let paths = partners(file, endings).map_err(|reason| CurateError::data(file, reason))?;
    let mut files =
        paths.iter().map(|path| LineReader::open(path, LinesOf::Text)).collect::<Result<Vec<_>, RowError>>()?;
    let path: Arc<Path> = Arc::from(file);
    let mut lines = vec![Vec::new(); files.len()];
    for number in 1.. {
        let at = ReadAt::line(&path, number);
        let texts =
            files.iter_mut().zip(&mut lines).map(|(file, line)| Ok(next_line(file, line)?.map(|(_, text)| text)));
        let texts = texts.collect::<Result<Vec<_>, RowError>>()?;
        if let Some(ended) = texts.iter().position(Option::is_none) {
            let Some(longer) = texts.iter().position(Option::is_some) else { return Ok(()) };
            let (ended, longer) = (paths[ended].display(), paths[longer].display());
            let reason = format!("{longer} has a line {number} and {ended} has not: they do not belong together");
            return Err(CurateError::data(file, reason).into());
        }
        let record: Result<Map<String, Value>, String> = endings
            .iter()
            .zip(texts.into_iter().flatten())
            .map(|(ending, text)| {
                let text = text.map_err(|reason| format!("{ending}: {reason}"))?;
                Ok((ending.clone(), Value::from(text)))
            })
            .collect();
        match record {
            Ok(record) => columns.offer(&at, &record, || None, offers)?,
            Err(reason) => offers.unreadable(&at, reason)?,
        }
    }
    Ok(())
}
