//! Texts with ids: a collection of documents, or queries.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use tercet_sampler::{ReadAt, is_of_objects, json_object, utf8};

use super::cells::{for_each_cells, is_header};
use super::fields::TextFields;
use super::objects::{checked_id, for_each_object, id_of};
use super::records::for_each_record;
use super::refusal::{Kept, Refusal};
use crate::error::CurateError;

/// Usual names of an id.
const IDS: [&str; 7] = ["_id", "id", "docid", "doc_id", "pid", "qid", "query_id"];
/// Usual names of a text.
const TEXTS: [&str; 6] = ["text", "passage", "query", "question", "content", "contents"];

/// A document or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its id.
    pub id: String,
    /// Its text, with the title before it.
    pub text: String,
}

/// The title, if there is one, a space and the text: a document as `tercet eval` reads it.
pub fn titled(title: Option<&str>, text: &str) -> String {
    match title.map(str::trim) {
        Some(title) if !title.is_empty() => format!("{title} {text}"),
        _ => text.to_owned(),
    }
}

/// Calls `visit` with each text of `path`: a table, JSON Lines, Parquet or Arrow, or a folder of files, `.txt` each of
/// which is a text named after itself, or `.json` each of which is an object.
///
/// # Errors
/// A file cannot be read or is evidently another, what has no id or no text, or what `visit` ends with.
pub fn for_each_text(
    path: &Path,
    fields: Option<&TextFields>,
    mut visit: impl FnMut(&ReadAt, Text) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    let is_saved = |name: &str| path.join(name).is_file();
    if path.is_dir() && !is_saved("state.json") && !is_saved("dataset_dict.json") {
        return folder(path, fields, visit);
    }
    match fields {
        Some(fields) => {
            let mut columns = vec![fields.id.as_str()];
            columns.extend(fields.text.columns());
            for_each_record(path, &columns, |at, record| visit(at, by_fields(fields, &record)?))
        }
        None if is_of_objects(path) => {
            let used = [&IDS[..], &TEXTS[..], &["title"]].concat();
            for_each_object(path, &used, |at, record| visit(at, by_names(&record)?))
        }
        None => {
            let (mut is_first, mut named) = (true, None);
            for_each_cells(path, |at, cells| {
                if std::mem::take(&mut is_first) && is_header(cells) {
                    named = Some(Named::by(cells)?);
                    return Ok(());
                }
                let [id, .., last] = cells else {
                    return Err("expected two columns or more, the id first and the text last, found one".into());
                };
                let text = named.as_ref().map_or_else(|| Ok((*last).to_owned()), |named| named.text(cells))?;
                visit(at, Text { id: checked_id("the first column", id.trim().to_owned())?, text })
            })
        }
    }
}

/// Where text and title stand in a table, by its first line.
struct Named {
    text: usize,
    title: Option<usize>,
}

impl Named {
    fn by(cells: &[&str]) -> Result<Self, String> {
        let names: Vec<String> = cells.iter().map(|cell| cell.trim().to_ascii_lowercase()).collect();
        let place = |name: &str| names.iter().position(|own| own == name);
        let text = TEXTS.into_iter().find_map(place).or((cells.len() == 2).then_some(1)).ok_or_else(|| {
            format!(
                "the first line names no text by a usual name ({}), but {}: say which columns are id and text \
                 (--collection-fields, --query-fields)",
                TEXTS.join(", "),
                super::fields::names(names.iter().map(String::as_str))
            )
        })?;
        Ok(Self { text, title: place("title").filter(|title| *title != text) })
    }

    fn text(&self, cells: &[&str]) -> Result<String, String> {
        let cell = |place: usize| {
            cells.get(place).ok_or_else(|| {
                format!("expected {} columns or more as in the first line, found {}", place + 1, cells.len())
            })
        };
        Ok(titled(self.title.map(cell).transpose()?.copied(), cell(self.text)?))
    }
}

fn by_fields(fields: &TextFields, record: &Map<String, Value>) -> Result<Text, String> {
    Ok(Text { id: id_of(&fields.id, record.get(&fields.id))?, text: fields.text.text(record)? })
}

fn by_names(record: &Map<String, Value>) -> Result<Text, String> {
    let of = |usual: &[&'static str]| {
        let there = |name: &&&str| record.get(**name).is_some_and(|value| !value.is_null());
        usual.iter().find(there).copied()
    };
    let missing = |what: &str, usual: &[&str]| {
        format!(
            "no {what} under a usual name ({}) among {}: say where they stand",
            usual.join(", "),
            super::fields::names(record.keys().map(String::as_str))
        )
    };
    let id = of(&IDS).ok_or_else(|| missing("id", &IDS))?;
    let text = of(&TEXTS).ok_or_else(|| missing("text", &TEXTS))?;
    let id = id_of(id, record.get(id))?;
    let text = record[text].as_str().ok_or_else(|| format!("{text:?} is {}: a text is expected", record[text]))?;
    Ok(Text { id, text: titled(record.get("title").and_then(Value::as_str), text) })
}

/// A folder with a file for each text.
fn folder(
    path: &Path,
    fields: Option<&TextFields>,
    mut visit: impl FnMut(&ReadAt, Text) -> Result<(), Refusal>,
) -> Result<(), CurateError> {
    let files = files_in(path)?;
    if files.is_empty() {
        return Err(CurateError::data(path, "the folder holds no .txt and no .json file"));
    }
    for file in files {
        let bytes = fs::read(&file).map_err(CurateError::io(&file))?;
        let at = ReadAt::line(&Arc::from(file.as_path()), 1);
        let mut kept = Kept::default();
        let visited = utf8(&bytes).and_then(|content| text_of(&file, content, fields)).map_err(Refusal::from);
        let visited = visited.and_then(|text| visit(&at, text));
        let visited = visited.map_err(|refusal| at.error(kept.reason(refusal)));
        kept.or(visited)?;
    }
    Ok(())
}

/// The folder's texts in the order of their names.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, CurateError> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(CurateError::io(path))?;
    let is_text = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "txt" || ending == "json");
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_text).collect();
    files.sort();
    Ok(files)
}

fn text_of(file: &Path, content: &str, fields: Option<&TextFields>) -> Result<Text, String> {
    if file.extension().is_some_and(|ending| ending == "txt") {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(Text { id: checked_id("the file's name", name)?, text: content.to_owned() });
    }
    let record: Map<String, Value> = json_object(content)?;
    match fields {
        Some(fields) => by_fields(fields, &record),
        None => by_names(&record),
    }
}
