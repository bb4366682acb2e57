//! Files that belong together line by line, as OPUS has its corpora in Moses' format: `CCMatrix.de-fr.de` and
//! `CCMatrix.de-fr.fr`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use tercet_sampler::{LineReader, LinesOf, ReadAt, RowError, plain_or_packed, unpacked_name, utf8};

use super::offers::Offers;
use super::records::Columns;
use crate::error::CurateError;

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
pub(super) fn read(
    file: &Path,
    endings: &[String],
    columns: &Columns,
    offers: &mut Offers<'_>,
) -> Result<(), CurateError> {
    let paths = partners(file, endings).map_err(|reason| CurateError::data(file, reason))?;
    let mut files =
        paths.iter().map(|path| LineReader::open(path, LinesOf::Text)).collect::<Result<Vec<_>, RowError>>()?;
    let path: Arc<Path> = Arc::from(file);
    let mut lines = vec![Vec::new(); files.len()];
    for number in 1.. {
        let at = ReadAt::line(&path, number);
        let mut read = Vec::with_capacity(files.len());
        for (reader, line) in files.iter_mut().zip(&mut lines) {
            read.push(match reader.read_line(line) {
                Ok(number) => Ok(number.is_some()),
                Err(RowError::Line { reason, .. }) => Err(reason),
                Err(error) => return Err(error.into()),
            });
        }
        if let Some(ended) = read.iter().position(|read| *read == Ok(false)) {
            let Some(longer) = read.iter().position(|read| *read != Ok(false)) else { return Ok(()) };
            let (ended, longer) = (paths[ended].display(), paths[longer].display());
            let reason = format!("{longer} has a line {number} and {ended} has not: they do not belong together");
            return Err(CurateError::data(file, reason));
        }
        let record: Result<Map<String, Value>, String> = endings
            .iter()
            .zip(read)
            .zip(&lines)
            .map(|((ending, read), line)| {
                let text = read.and_then(|_| utf8(line)).map_err(|reason| format!("{ending}: {reason}"))?;
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
