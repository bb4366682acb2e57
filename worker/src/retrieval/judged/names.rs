//! What the files of a BEIR folder are called, and what texts may be called.

use std::path::{Path, PathBuf};

use tercet_sampler::plain_or_packed;

use crate::files::CommandError;
use crate::files::records::no_id;

/// Endings of the files of columns that stand in for JSON Lines.
const COLUMNS: [&str; 2] = ["parquet", "arrow"];

/// Names in a folder that a message lists.
const LISTED_NAMES: usize = 12;

/// The file `name` of the folder, plain or packed; or, of JSON Lines, the same name as columns; if there is one.
pub fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let path = plain_or_packed(&dir.join(name));
    let stem = name.strip_suffix(".jsonl");
    let columns = stem.into_iter().flat_map(|stem| COLUMNS.map(|ending| dir.join(format!("{stem}.{ending}"))));
    [path].into_iter().chain(columns).find(|path| path.exists())
}

/// The file `name` of the folder.
pub(super) fn file_of(dir: &Path, name: &str) -> Result<PathBuf, CommandError> {
    if let Some(found) = find(dir, name) {
        return Ok(found);
    }
    if !dir.is_dir() {
        return Err(CommandError::Usage(format!("--data {}: there is no such folder", dir.display())));
    }
    let below: Vec<String> = names_in(dir).into_iter().filter(|below| dir.join(below).join(name).exists()).collect();
    let remedy = match below.first() {
        Some(below) => format!("{} has one: give that to --data", dir.join(below).display()),
        None => format!("there are: {}", listed(&names_in(dir))),
    };
    Err(CommandError::Usage(format!("{}: no such file; {remedy}", dir.join(name).display())))
}

/// The judgments of a split.
pub(super) fn qrels_of(dir: &Path, split: &str) -> Result<PathBuf, CommandError> {
    let folder = dir.join("qrels");
    let named = folder.join(format!("{split}.tsv"));
    let path = plain_or_packed(&named);
    if path.exists() || !folder.is_dir() {
        // A folder without judgments may lack more: its other files are reported first.
        file_of(dir, "corpus.jsonl")?;
        return file_of(dir, &format!("qrels/{split}.tsv"));
    }
    let names = names_in(&folder);
    let splits: Vec<&str> = names.iter().filter_map(|name| name.split_once(".tsv").map(|(split, _)| split)).collect();
    let remedy = match splits.first() {
        Some(first) => format!("{} has {}: choose one with --split {first}", folder.display(), listed(&splits)),
        None => format!("{} holds {}", folder.display(), listed(&names)),
    };
    Err(CommandError::Usage(format!("{}: no such file; {remedy}", named.display())))
}

/// The names in a folder, in order; none if it cannot be read.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().map(AsRef::as_ref).take(LISTED_NAMES).collect();
    match names.len().saturating_sub(LISTED_NAMES) {
        0 if names.is_empty() => "nothing".into(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The folder's name.
///
/// # Errors
/// [`CommandError::File`]: there is none.
pub fn folder_name(dir: &Path) -> Result<String, CommandError> {
    // `.` and `data/..` have a name once resolved.
    let full = dir.canonicalize().map_err(CommandError::file(dir))?;
    Ok(full.file_name().map_or_else(|| "dataset".into(), |name| name.to_string_lossy().into_owned()))
}

/// The name of the text on `line`.
///
/// # Errors
/// The reason, to be put behind its place.
pub fn required_id(id: Option<String>, line: &str) -> Result<String, String> {
    let id = id.ok_or_else(|| no_id(line))?;
    // Judgments put names between tabs, one a line.
    if id.trim().is_empty() || id.trim() != id || id.contains(['\t', '\n', '\r']) {
        return Err(format!(
            "the _id {id:?} is empty, or has a blank at an end or a tab in it, which judgments cannot carry"
        ));
    }
    Ok(id)
}
