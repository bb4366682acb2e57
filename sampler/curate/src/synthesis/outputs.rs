//! What is written: training rows, folders for evaluation, and answers that did not pass. All of it is made anew of the
//! journal each time.

use std::fs::{self, DirEntry};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::documents::Chosen;
use super::plan::{Split, Stand};
use super::recipe::Recipe;
use super::report::REPORT;
use crate::error::CurateError;
use crate::input::titled;
use crate::output::{Begun, Folder, Origin, Partial, TextLine, WholeFile};

/// What folders are said to be made by.
const KIND: &str = "synthesize";

/// The folder with those for evaluation, one a language.
const EVAL: &str = "eval";

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

/// Writes everything into `out`, in place of what [`check_place`] found there, but for the report, which follows. The
/// recipe is at `recipe_path`.
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
    let dir = out.join(EVAL);
    let eval = Partial::of(&dir);
    remove(eval.place())?;
    for stand in stands.iter().filter(|stand| stand.questions.iter().any(|(split, ..)| *split != Split::Train)) {
        let name = &stand.language.name;
        let origin = Origin::of(KIND, Some(name), None, &[recipe_path])?;
        write_folder(&eval.place().join(name), origin, recipe, chosen, stand)?;
    }
    // All is on the disk, and takes the place of what was there.
    let report = out.join(REPORT);
    match fs::remove_file(&report) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(CurateError::io(&report)(error)),
        _ => {}
    }
    rows.finish()?;
    refused.finish()?;
    remove(&dir)?;
    match eval.place().exists() {
        true => eval.name().map_err(CurateError::io(&dir)),
        false => Ok(()),
    }
}

fn remove(dir: &Path) -> Result<(), CurateError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CurateError::io(dir)(error)),
        _ => Ok(()),
    }
}

/// Names in `out` that are written.
const NAMES: [&str; 7] =
    ["train.jsonl.zst", "refused.jsonl", "report.json", "report.txt", "costs.json", "journal.jsonl", EVAL];

/// Checks that `out` is free, or a folder that was begun here with nothing in place of its own that is somebody else's,
/// and that none of `documents` would be written over.
///
/// # Errors
/// It is not.
pub fn check_place(out: &Path, documents: &[PathBuf]) -> Result<(), CurateError> {
    let there = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let reason = "is a file, or lies below one: --out must be a folder, which is made if it is not there";
            return Err(CurateError::Usage(format!("{}: {reason}", out.display())));
        }
        Err(error) => return Err(CurateError::io(out)(error)),
    };
    if there && !out.join("journal.jsonl").is_file() {
        return Err(CurateError::Usage(format!(
            "{}: is there, and is not a folder of `tercet synthesize` (it has no journal.jsonl): nothing is overwritten, \
             choose another --out",
            out.display()
        )));
    }
    check_eval(&out.join(EVAL))?;
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

/// Checks that all in the folder `dir` is of our making, as it will be replaced.
fn check_eval(dir: &Path) -> Result<(), CurateError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(CurateError::io(dir))?,
    };
    for path in entries.iter().map(DirEntry::path) {
        let origin = fs::read(path.join("import.json")).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let kind = origin.as_ref().and_then(|origin: &Value| origin.get("kind")?.as_str());
        if kind != Some(KIND) {
            return Err(CurateError::Usage(format!(
                "{}: is there, and was not made by `tercet synthesize`: choose another --out, or remove it",
                path.display()
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
    for document in stand.corpus(recipe) {
        let (title, text) = chosen.title_and_text(document)?;
        corpus.object(&TextLine { id: &document.id(), title: &title, text: &text })?;
    }
    corpus.finish()?;
    folder.finish()
}
