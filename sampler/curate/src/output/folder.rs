//! Evaluation folders as `tercet eval` reads them: corpus.jsonl, queries.jsonl, and qrels or answers.jsonl.
//!
//! A folder is written beside its name. `import.json` in it says what it was made of, so that the same command passes
//! over what is there already, and goes on after a kill.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::WholeFile;
use super::partial::Partial;
use crate::error::CurateError;

/// The corpus is packed: MIRACL's English one has 33 million passages.
const CORPUS: &str = "corpus.jsonl.zst";
const ORIGIN: &str = "import.json";

/// What a folder is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    kind: String,
    language: Option<String>,
    split: Option<String>,
    /// Names and bytes.
    files: Vec<(String, u64)>,
}

impl Origin {
    /// Describes `files`, imported as `kind`.
    ///
    /// # Errors
    /// A file is not there.
    pub fn of(kind: &str, language: Option<&str>, split: Option<&str>, files: &[&Path]) -> Result<Self, CurateError> {
        let described = files.iter().map(|path| {
            let bytes = fs::metadata(path).map_err(CurateError::io(path))?.len();
            Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes))
        });
        let files = described.collect::<Result<_, CurateError>>()?;
        Ok(Self { kind: kind.into(), language: language.map(Into::into), split: split.map(Into::into), files })
    }
}

/// What there was to begin.
pub enum Begun {
    /// The folder is there, of the same origin.
    IsThere,
    /// It is to be written.
    New(Folder),
}

/// A folder that is being written.
pub struct Folder {
    partial: Partial,
    origin: Origin,
}

impl Folder {
    /// Begins the folder `dir`.
    ///
    /// # Errors
    /// There is another one. The operating system's.
    pub fn begin(dir: &Path, origin: Origin) -> Result<Begun, CurateError> {
        let there = dir.join(ORIGIN);
        if dir.exists() {
            let found = fs::read(&there).ok().and_then(|text| serde_json::from_slice::<Origin>(&text).ok());
            return match found {
                Some(found) if found == origin => Ok(Begun::IsThere),
                found => {
                    let what =
                        if found.is_some() { "was imported from other files, or another split" } else { "is there" };
                    let dir = dir.display();
                    Err(CurateError::Usage(format!(
                        "{dir}: {what}: nothing is overwritten, choose another or remove it"
                    )))
                }
            };
        }
        let partial = Partial::of(dir);
        if partial.place().exists() {
            fs::remove_dir_all(partial.place()).map_err(CurateError::io(partial.place()))?;
        }
        fs::create_dir_all(partial.place().join("qrels")).map_err(CurateError::io(partial.place()))?;
        Ok(Begun::New(Self { partial, origin }))
    }

    /// Its corpus, to be written.
    ///
    /// # Errors
    /// The operating system's.
    pub fn corpus(&self) -> Result<WholeFile, CurateError> {
        WholeFile::create(&self.partial.place().join(CORPUS))
    }

    /// Makes the corpus of the folder `other` its own: one file with two names.
    ///
    /// # Errors
    /// The operating system's.
    pub fn share_corpus(&self, other: &Path) -> Result<(), CurateError> {
        let own = self.partial.place().join(CORPUS);
        fs::hard_link(other.join(CORPUS), &own).map_err(CurateError::io(&own))
    }

    /// Its queries, to be written.
    ///
    /// # Errors
    /// The operating system's.
    pub fn queries(&self) -> Result<WholeFile, CurateError> {
        WholeFile::create(&self.partial.place().join("queries.jsonl"))
    }

    /// Its queries' answers, to be written.
    ///
    /// # Errors
    /// The operating system's.
    pub fn answers(&self) -> Result<WholeFile, CurateError> {
        WholeFile::create(&self.partial.place().join("answers.jsonl"))
    }

    /// The judgments of a split, to be written, with their header.
    ///
    /// # Errors
    /// The operating system's.
    pub fn qrels(&self, split: &str) -> Result<WholeFile, CurateError> {
        let mut file = WholeFile::create(&self.partial.place().join("qrels").join(format!("{split}.tsv")))?;
        file.line("query-id\tcorpus-id\tscore")?;
        Ok(file)
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(self) -> Result<(), CurateError> {
        let mut origin = WholeFile::create(&self.partial.place().join(ORIGIN))?;
        origin.object(&self.origin)?;
        origin.finish()?;
        // A folder judged by answers has no qrels.
        _ = fs::remove_dir(self.partial.place().join("qrels"));
        let path = self.partial.place().to_owned();
        self.partial.name().map_err(CurateError::io(&path))
    }
}

/// A line of a corpus or of queries.
#[derive(Debug, Serialize)]
pub struct TextLine<'a> {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: &'a str,
    /// Its title; a query has none.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub title: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// A line of answers.
#[derive(Debug, Serialize)]
pub struct AnswersLine<'a> {
    /// The query's id.
    #[serde(rename = "_id")]
    pub id: &'a str,
    /// What answers it.
    pub answers: &'a [String],
}
