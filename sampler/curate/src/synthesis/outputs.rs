//! What is written: training rows, folders for evaluation, and answers that did not pass. All of it is made anew of the
//! journal each time.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::documents::{Chosen, Document};
use super::plan::{Split, Stand};
use super::recipe::Recipe;
use crate::error::CurateError;
use crate::input::titled;
use crate::output::{Begun, Folder, Origin, TextLine, WholeFile};

/// What folders are said to be made by.
const KIND: &str = "synthesize";

/// A training row.
#[derive(Serialize)]
struct Row<'a> {
    query: &'a str,
    pos: [&'a str; 1],
    lang: &'a str,
}

/// An answer that did not pass.
#[derive(Serialize)]
struct RefusedLine<'a> {
    reason: &'a str,
    lang: &'a str,
    document: String,
    answer: &'a str,
}

/// Writes everything into `out`, in place of what [`check`] found there. The recipe is at `recipe_path`.
///
/// # Errors
/// The operating system's.
pub fn write(
    out: &Path,
    (recipe, recipe_path): (&Recipe, &Path),
    chosen: &Chosen,
    stands: &[Stand<'_>],
) -> Result<(), CurateError> {
    let mut rows = WholeFile::create(&out.join("train.jsonl.zst"))?;
    let mut refused = WholeFile::create(&out.join("refused.jsonl"))?;
    for stand in stands {
        let lang = stand.language.name.as_str();
        for (_, document, query) in stand.questions.iter().filter(|(split, ..)| *split == Split::Train) {
            let (title, text) = chosen.title_and_text(document)?;
            rows.object(&Row { query, pos: [&titled(Some(&title), &text)], lang })?;
        }
        for (document, answer) in &stand.refused {
            let (reason, document) = (answer.reason.as_str(), document.id());
            refused.object(&RefusedLine { reason, lang, document, answer: &answer.text })?;
        }
    }
    rows.finish()?;
    refused.finish()?;
    for stand in stands {
        let dir = folder_of(out, &stand.language.name);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(CurateError::io(&dir))?;
        }
        if stand.questions.iter().any(|(split, ..)| *split != Split::Train) {
            let origin = Origin::of(KIND, Some(&stand.language.name), None, &[recipe_path])?;
            write_folder(&dir, origin, recipe, chosen, stand)?;
        }
    }
    Ok(())
}

/// Where the folder for evaluation of a language is.
fn folder_of(out: &Path, language: &str) -> PathBuf {
    out.join("eval").join(language)
}

/// Names in `out` that are written.
const NAMES: [&str; 7] =
    ["train.jsonl.zst", "refused.jsonl", "report.json", "report.txt", "costs.json", "journal.jsonl", "eval"];

/// Checks that `out` is free, or a folder that was begun here, and that none of `documents` would be written over.
///
/// # Errors
/// It is not.
pub fn check_place(out: &Path, documents: &[PathBuf]) -> Result<(), CurateError> {
    let there = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // A file, say.
        Err(error) => return Err(CurateError::io(out)(error)),
    };
    if there && !out.join("journal.jsonl").is_file() {
        return Err(CurateError::Usage(format!(
            "{}: is there, and is not a folder of `tercet synthesize` (it has no journal.jsonl): nothing is overwritten, \
             choose another --out",
            out.display()
        )));
    }
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let written = NAMES.map(|name| whole(&out.join(name)));
    match documents.iter().find(|path| written.iter().any(|place| whole(path).starts_with(place))) {
        None => Ok(()),
        Some(path) => Err(CurateError::Usage(format!(
            "{}: is a file of documents at a place that is written to: choose another --out than {}",
            path.display(),
            out.display()
        ))),
    }
}

/// Checks that the folders in `out` are of our making, as they will be replaced.
///
/// # Errors
/// One is not.
pub fn check(out: &Path, chosen: &Chosen) -> Result<(), CurateError> {
    for language in &chosen.languages {
        let dir = folder_of(out, &language.name);
        let origin = fs::read(dir.join("import.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let kind = origin.as_ref().and_then(|origin: &Value| origin.get("kind")?.as_str());
        if dir.exists() && kind != Some(KIND) {
            return Err(CurateError::Usage(format!(
                "{}: is there, and was not made by `tercet synthesize`: choose another --out, or remove it",
                dir.display()
            )));
        }
    }
    Ok(())
}

fn write_folder(
    dir: &Path,
    origin: Origin,
    recipe: &Recipe,
    chosen: &Chosen,
    stand: &Stand<'_>,
) -> Result<(), CurateError> {
    let Begun::New(folder) = Folder::begin(dir, origin)? else { return Ok(()) };
    let mut queries = folder.queries()?;
    for split in [Split::Dev, Split::Test] {
        let of_split: Vec<_> = stand.questions.iter().filter(|(of, ..)| *of == split).collect();
        if of_split.is_empty() {
            continue;
        }
        let mut qrels = folder.qrels(split.name())?;
        for (_, document, text) in of_split {
            let id = format!("q{:032x}", document.hash);
            queries.object(&TextLine { id: &id, title: "", text })?;
            qrels.line(&format!("{id}\t{}\t1", document.id()))?;
        }
        qrels.finish()?;
    }
    queries.finish()?;
    let mut corpus = folder.corpus()?;
    for document in corpus_of(recipe, stand) {
        let (title, text) = chosen.title_and_text(document)?;
        corpus.object(&TextLine { id: &document.id(), title: &title, text: &text })?;
    }
    corpus.finish()?;
    folder.finish()
}

/// The documents that dev's and test's questions are about and, up to the number asked for, those that no question is
/// about; by hash, so that their places tell nothing.
pub fn corpus_of<'a>(recipe: &Recipe, stand: &'a Stand<'_>) -> Vec<&'a Document> {
    let hashes = |is_of: fn(Split) -> bool| -> HashSet<u128> {
        let of = stand.questions.iter().filter(|(split, ..)| is_of(*split));
        of.map(|(_, document, _)| document.hash).collect()
    };
    let (judged, trained) = (hashes(|split| split != Split::Train), hashes(|split| split == Split::Train));
    let mut others = recipe.questions.corpus.number(&stand.language.name).saturating_sub(judged.len());
    let belongs = |document: &&Document| {
        if judged.contains(&document.hash) {
            return true;
        }
        let is_other = others > 0 && !trained.contains(&document.hash);
        others -= usize::from(is_other);
        is_other
    };
    stand.language.documents.iter().filter(belongs).collect()
}
