//! What a recipe says of a source.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::format::Format;
use super::kind::Kind;
use crate::duplicates::Compared;

/// A `[[source]]` of a curation's recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name: a file name's characters.
    pub name: String,
    /// Its files: paths, or patterns with `*`, `?`, `[…]` and `**`.
    pub files: Vec<String>,
    /// What is a query to what.
    pub(super) kind: Kind,
    /// What the files hold; by default what their names say.
    pub(super) format: Option<Format>,
    /// Where in a record the query stands; by default as the kind's best known source has it.
    pub(super) query: Option<String>,
    /// Where the passage stands; a list is several.
    pub(super) passage: Option<String>,
    /// Names of a table's columns, of the first ones at least, where its first line does not name them.
    pub(super) columns: Option<Vec<String>>,
    /// Endings of files that belong together line by line, the query's first: the names of their columns.
    pub(super) aligned: Option<Vec<String>>,
    /// The passages' language.
    pub(super) language: Option<Language>,
    /// What numbers in these columns must at least be; `a.b` is the key b in the object a.
    #[serde(default)]
    pub(super) min: BTreeMap<String, f64>,
    /// Pairs that a record or a document gives at most, the first ones.
    pub(super) max_pairs: Option<NonZeroUsize>,
    /// What is done about a record that is not what the source says.
    #[serde(default)]
    pub(super) on_error: OnError,
    /// Keys of `[filters]` that are others for this source.
    #[serde(default)]
    pub filters: toml::Table,
}

/// A language that all passages have, or the column that names it, or `a.b` for the key b in the object a.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Language {
    Stated(String),
    Column { column: String },
}

/// What is done about a record that is not what the source says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnError {
    /// It ends the curation.
    #[default]
    Error,
    /// It is dropped.
    Skip,
}

impl Source {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// Its keys contradict each other.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((key.to_owned(), reason));
        if self.name.is_empty()
            || self.name.starts_with('.')
            || !self.name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        {
            return wrong("name", format!("{:?}: letters, digits, _, . and - are expected, no . first", self.name));
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
        if let Some(Language::Stated(language)) = &self.language {
            let code = language.split(['-', '_', '@']).next().unwrap_or_default();
            if !(2..=3).contains(&code.len()) || !code.chars().all(|c| c.is_ascii_lowercase()) {
                return wrong(
                    "language",
                    format!("{language:?} is no code of a language, such as \"de\" or \"pt-BR\""),
                );
            }
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
    pub(super) fn check_format(&self, format: Format) -> Result<(), (String, String)> {
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

    pub(super) fn format_of(&self, file: &Path) -> Result<Format, String> {
        self.format.or_else(|| Format::of_name(file)).ok_or_else(|| {
            let all = Format::ALL.map(|format| format!("{format:?}").to_lowercase()).join(", ");
            format!("the name {} does not say what the file holds: name one of {all}", file.display())
        })
    }
}
