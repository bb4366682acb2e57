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
mod tables;
#[cfg(test)]
mod tests;
mod warc;
mod wikitext;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_sampler::ReadAt;

use crate::duplicates::Compared;
use crate::error::CurateError;
use crate::input::matching;
use crate::pair::Pair;
use crate::reason::Reason;
use format::Format;
use kind::Kind;
use offers::Offers;
use records::Columns;

/// A `[[source]]` of a curation's recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name: a file name's characters.
    pub name: String,
    /// Its files: paths, or patterns with `*`, `?`, `[…]` and `**`.
    pub files: Vec<String>,
    /// What is a query to what.
    kind: Kind,
    /// What the files hold; by default what their names say.
    format: Option<Format>,
    /// Where in a record the query stands; by default as the kind's best known source has it.
    query: Option<String>,
    /// Where the passage stands; a list is several.
    passage: Option<String>,
    /// Names of a table's columns, of the first ones at least, where its first line does not name them.
    columns: Option<Vec<String>>,
    /// Endings of files that belong together line by line, the query's first: the names of their columns.
    aligned: Option<Vec<String>>,
    /// The passages' language.
    language: Option<Language>,
    /// What numbers in these columns must at least be.
    #[serde(default)]
    min: BTreeMap<String, f64>,
    /// Pairs that a record or a document gives at most, the first ones.
    max_pairs: Option<NonZeroUsize>,
    /// What is done about a record that is not what the source says.
    #[serde(default)]
    on_error: OnError,
    /// Keys of `[filters]` that are others for this source.
    #[serde(default)]
    pub filters: toml::Table,
}

/// A language that all passages have, or the column that names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Language {
    Stated(String),
    Column { column: String },
}

/// What is done about a record that is not what the source says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnError {
    /// It ends the curation.
    #[default]
    Error,
    /// It is dropped.
    Skip,
}

/// What a record of a file gives.
#[derive(Debug)]
pub enum Offered {
    /// A pair.
    Pair(Pair),
    /// None, for this reason, and the text to show.
    Dropped(Reason, String),
}

impl Source {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// Its keys contradict each other.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            return wrong("name", format!("{:?}: letters, digits, _, . and - are expected", self.name));
        }
        if self.files.is_empty() {
            return wrong("files", "none are named".into());
        }
        if let Some((name, min)) = self.min.iter().find(|(_, min)| !min.is_finite()) {
            return wrong("min", format!("{name} = {min}: a number is expected"));
        }
        if let Some(columns) = self.columns.as_ref().or(self.aligned.as_ref()) {
            let mut names: Vec<&String> = columns.iter().collect();
            names.sort();
            if columns.len() < 1 + usize::from(self.aligned.is_some()) || names.windows(2).any(|two| two[0] == two[1]) {
                return wrong(self.naming_key(), "names of different columns are expected".into());
            }
        }
        if self.aligned.is_some() && (self.columns.is_some() || self.format.is_some()) {
            return wrong("aligned", "files of lines have no format and no other columns".into());
        }
        if self.aligned.is_some() && self.kind.is_of_one_text() {
            return wrong("aligned", format!("a pair of kind {} is made of one text", self.kind));
        }
        match self.format {
            Some(format) => self.check_format(format),
            None => Ok(()),
        }
    }

    /// What rows must nearly have in common to be one: a page under another title is there already, and several
    /// questions to a paragraph are several rows.
    pub fn compared(&self) -> Compared {
        match self.kind {
            Kind::TitleBody | Kind::TitleAbstract | Kind::HeadingSection | Kind::FirstSentenceRest => Compared::Passage,
            Kind::InstructionOutput | Kind::Parallel | Kind::QuestionAnswer => Compared::Pair,
        }
    }

    fn naming_key(&self) -> &'static str {
        if self.columns.is_some() { "columns" } else { "aligned" }
    }

    /// Says what is wrong with it if a file has `format`.
    fn check_format(&self, format: Format) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        if !format.is_of_documents() {
            if self.columns.is_some() && !format.is_of_tables() {
                return wrong("columns", format!("a file of format {format} names its columns itself"));
            }
            return match self.kind.is_of_one_text() && self.query.is_some() {
                true => wrong("query", format!("a pair of kind {} is made of the passage alone", self.kind)),
                false => Ok(()),
            };
        }
        if !self.kind.is_of_documents(format) {
            return wrong("kind", format!("a file of format {format} gives no pairs of kind {}", self.kind));
        }
        let of_records = [
            ("query", self.query.is_some()),
            ("passage", self.passage.is_some()),
            ("columns", self.columns.is_some()),
            ("min", !self.min.is_empty()),
            ("language", matches!(self.language, Some(Language::Column { .. }))),
        ];
        match of_records.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => wrong(key, format!("a file of format {format} has no columns")),
            None => Ok(()),
        }
    }

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

    fn format_of(&self, file: &Path) -> Result<Format, String> {
        self.format.or_else(|| Format::of_name(file)).ok_or_else(|| {
            let all = Format::ALL.map(|format| format!("{format:?}").to_lowercase()).join(", ");
            format!("the name {} does not say what the file holds: name one of {all}", file.display())
        })
    }

    /// Calls `visit` with what each record of `file` gives, in order.
    ///
    /// # Errors
    /// The file cannot be read or a record is not what the source says, or what `visit` ends with.
    pub fn read(
        &self,
        file: &Path,
        visit: &mut dyn FnMut(&ReadAt, Offered) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
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
            Format::Text => document::read_text(file, &mut offers),
        }
    }
}
