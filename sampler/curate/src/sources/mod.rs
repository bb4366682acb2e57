//! Files of raw text, to pairs.
//!
//! [`kind`] says what a pair is, [`format`] what files hold: records, of which [`records`] takes columns (lines of
//! [`json`], rows of Parquet and Arrow, [`tables`], [`aligned`] files), or documents with a title and sections
//! ([`document`]): pages of a [`mediawiki`] dump, whose text [`wikitext`] makes plain, [`html`] pages, captures in
//! [`warc`] files, plain texts. [`offers`] passes on what they give.
//!
//! A record is held at a time. What is not what the source says is an error with file and line, or with
//! `on_error = "skip"` dropped with the reason `unreadable`; a file that ends early or cannot be unpacked is always an
//! error.

mod aligned;
mod document;
mod entities;
mod format;
mod html;
mod json;
mod kind;
mod mediawiki;
mod offers;
mod records;
mod sentences;
mod source;
mod tables;
#[cfg(test)]
mod tests;
mod text;
mod warc;
mod wikitext;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tercet_sampler::ReadAt;

use crate::error::CurateError;
use crate::input::{Refusal, matching};
use format::Format;
pub use offers::Offered;
use offers::{NO_COLUMN, Offers, UNREADABLE};
use records::Columns;
pub use source::Source;
use source::{Language, OnError};

/// Records in which one must have the columns that are asked for, where one that has not is an error anyway.
const MOST_TRIED: u64 = 1000;

impl Source {
    /// Its files below `base`, each once, in the order of their paths.
    ///
    /// # Errors
    /// A pattern matches nothing, a file's name does not say its format or says one that the source's other keys do not
    /// suit. The operating system's.
    pub fn files(&self, base: &Path) -> Result<Vec<PathBuf>, CurateError> {
        let within = |key: &str, reason: String| CurateError::Usage(format!("source {:?}: {key}: {reason}", self.name));
        let files = matching(base, &self.files, Path::is_file, |reason| within("files", reason))?;
        for file in &files {
            match &self.aligned {
                Some(endings) => drop(aligned::partners(file, endings).map_err(|reason| within("aligned", reason))?),
                None => {
                    let format = self.format_of(file).map_err(|reason| within("format", reason))?;
                    self.check_format(format)
                        .map_err(|(key, reason)| within(&key, format!("{reason} ({})", file.display())))?;
                }
            }
        }
        Ok(files)
    }

    /// What is read with `file`: it and, of aligned files, those that belong to it.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn read_with(&self, file: &Path) -> Result<Vec<PathBuf>, CurateError> {
        match &self.aligned {
            Some(endings) => aligned::partners(file, endings).map_err(|reason| CurateError::data(file, reason)),
            None => Ok(vec![file.to_owned()]),
        }
    }

    /// Looks whether records of `file`, the source's first one, have the columns that are asked for. That none of them
    /// has is no mistake of the file's.
    ///
    /// # Errors
    /// No record at the beginning has them; where others are dropped, no record at all. What else is wrong with the
    /// file is left to who reads it.
    pub fn try_columns(&self, file: &Path) -> Result<(), CurateError> {
        // What can be read only once, such as a pipe, is not tried.
        if !(file.is_file() || file.is_dir()) || self.format_of(file).is_ok_and(Format::is_of_documents) {
            return Ok(());
        }
        let dropping = Self { on_error: OnError::Skip, ..self.clone() };
        let most = if self.on_error == OnError::Skip { u64::MAX } else { MOST_TRIED };
        let (mut lacking, mut read) = (None, 0);
        // What ends reading is found again.
        _ = dropping.read(file, &mut |_, offered| {
            match offered {
                Offered::Dropped(reason, said) if reason == NO_COLUMN => _ = lacking.get_or_insert(said),
                Offered::Dropped(reason, _) if reason == UNREADABLE => {}
                _ => {
                    lacking = None;
                    return Err(Refusal::Enough);
                }
            }
            read += 1;
            if read < most { Ok(()) } else { Err(Refusal::Enough) }
        });
        match lacking {
            None => Ok(()),
            Some(said) => {
                let (name, file) = (&self.name, file.display());
                let reason = format!("no record of {file} has the columns that it asks for: {said}");
                Err(CurateError::Usage(format!("source {name:?}: {reason}")))
            }
        }
    }

    /// Calls `visit` with what each record of `file` gives, in order.
    ///
    /// # Errors
    /// The file cannot be read or a record is not what the source says, or what `visit` ends with.
    pub fn read(
        &self,
        file: &Path,
        visit: &mut dyn FnMut(&ReadAt, Offered) -> Result<(), Refusal>,
    ) -> Result<(), CurateError> {
        match self.offer(file, visit) {
            Ok(()) | Err(Refusal::Enough) => Ok(()),
            Err(Refusal::Wrong(reason)) => Err(CurateError::data(file, reason)),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    fn offer(
        &self,
        file: &Path,
        visit: &mut dyn FnMut(&ReadAt, Offered) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut offers = Offers {
            visit,
            kind: self.kind,
            language: match &self.language {
                Some(Language::Stated(language)) => Some(language.clone()),
                _ => None,
            },
            max_pairs: self.max_pairs.map_or(usize::MAX, NonZeroUsize::get),
            skips: self.on_error == OnError::Skip,
        };
        if let Some(endings) = &self.aligned {
            let columns = Columns::of(self, &endings[0], &endings[1]);
            return aligned::read(file, endings, &columns, &mut offers);
        }
        let format = self.format_of(file).map_err(|reason| CurateError::data(file, reason))?;
        let columns = || {
            let (query, passage) = self.kind.usual_fields(format.is_of_tables() && self.columns.is_none());
            Columns::of(self, query, passage)
        };
        match format {
            Format::Jsonl => json::read_lines(file, &columns(), &mut offers),
            Format::Parquet | Format::Arrow => json::read_columns(file, &columns(), &mut offers),
            Format::Tsv | Format::Csv => tables::read(file, format, self.columns.as_deref(), &columns(), &mut offers),
            Format::Mediawiki => mediawiki::read(file, &mut offers),
            Format::Warc => warc::read(file, &mut offers),
            Format::Html => html::read(file, &mut offers),
            Format::Text => text::read(file, &mut offers),
        }
    }
}
