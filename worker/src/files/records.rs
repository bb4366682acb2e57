//! Reading the commands' inputs: plain text line by line, and objects that hold a text.
//!
//! The lines and objects themselves are the sampler's: plain, compressed or columns, the same for all commands.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tercet_sampler::{LineReader, LinesOf, ReadAt, for_each_object, json_fields, json_object, utf8};

use super::error::CommandError;

/// Other people's names for a text, and for what names it.
const TEXT_LIKE: [&str; 13] = [
    "contents",
    "content",
    "passage",
    "document",
    "doc",
    "sentence",
    "paragraph",
    "body",
    "context",
    "question",
    "queries",
    "texts",
    "input",
];
const ID_LIKE: [&str; 13] = [
    "docid",
    "documentid",
    "qid",
    "queryid",
    "pid",
    "passageid",
    "corpusid",
    "textid",
    "uuid",
    "idx",
    "key",
    "docno",
    "id",
];

/// Keys of an object that a message names.
const SHOWN_KEYS: usize = 12;

/// One JSON object that holds a text: a BEIR document or query, or a row of anyone's corpus. Other keys are ignored.
#[derive(Debug, PartialEq, Eq)]
pub struct TextRecord {
    /// The text's name: `_id`, or else `id`; an integer is taken as its digits.
    pub id: Option<String>,
    /// What stands before the text in a document.
    title: Option<Value>,
    /// `text`, or else `query`.
    pub text: String,
}

/// The fields that are looked at, of whatever type.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "_id")]
    beir_id: Option<Value>,
    id: Option<Value>,
    title: Option<Value>,
    text: Option<Value>,
    query: Option<Value>,
}

impl TextRecord {
    /// The keys that are looked at.
    pub const KEYS: [&'static str; 5] = ["_id", "id", "title", "text", "query"];

    /// Calls `visit` with each record of `path`, the line of JSON that it was read from, and where that was. `path` is
    /// a file of JSON Lines, Parquet or Arrow, or a folder of Hugging Face `datasets`.
    ///
    /// # Errors
    /// The file cannot be read or is evidently another, an object is no such record, or `visit` refuses one by giving a
    /// reason.
    pub fn for_each(
        path: &Path,
        mut visit: impl FnMut(&ReadAt, Self, &str) -> Result<(), String>,
    ) -> Result<(), CommandError> {
        Ok(for_each_object(path, &Self::KEYS, |at, line| visit(at, Self::parse(line)?, line))?)
    }

    /// The object on one line of JSON.
    ///
    /// # Errors
    /// The reason, to be put behind file and line.
    pub fn parse(line: &str) -> Result<Self, String> {
        json_object(line).and_then(|fields| Self::of(fields, line))
    }

    /// As [`TextRecord::parse`], of a passage: a row's query is none.
    ///
    /// # Errors
    /// As there.
    pub fn parse_passage(line: &str) -> Result<Self, String> {
        let fields: Fields = json_object(line)?;
        if fields.text.is_none() && fields.query.is_some() {
            let reason = "no \"text\", and \"query\" is no passage: expected an object like {\"_id\": \"d1\", \"title\": \"…\", \
                          \"text\": \"…\"} (`mine` searches the passages of rows without --corpus)";
            return Err(reason.into());
        }
        Self::of(fields, line)
    }

    fn of(fields: Fields, line: &str) -> Result<Self, String> {
        let Fields { beir_id, id, title, text, query } = fields;
        let id = match (beir_id, id) {
            (Some(id), _) => Some(id_of("_id", id)?),
            (None, Some(id)) => Some(id_of("id", id)?),
            (None, None) => None,
        };
        let text = match (text, query) {
            (Some(text), _) => string("text", text)?,
            (None, Some(query)) => string("query", query)?,
            (None, None) => {
                return Err(null_among(line, ["text", "query"])
                    .unwrap_or_else(|| format!("no \"text\" among the keys {}", keys_and_meant(line, &TEXT_LIKE))));
            }
        };
        Ok(Self { id, title, text })
    }

    /// What the model reads of a document: the title, if there is one, a space, and the text, as BEIR's loader has it.
    ///
    /// # Errors
    /// The title is no string: a query's may be anything, as it is not read.
    pub fn full_text(self) -> Result<String, String> {
        self.titled_text().map(|(text, _)| text)
    }

    /// That, and where in it the text begins that follows the title; 0 without a title.
    ///
    /// # Errors
    /// As there.
    pub fn titled_text(self) -> Result<(String, usize), String> {
        Ok(match self.title.map(|title| string("title", title)).transpose()? {
            Some(title) if !title.trim().is_empty() => {
                let start = title.trim_start().len() + 1;
                (format!("{title} {}", self.text).trim().to_owned(), start)
            }
            _ => (self.text, 0),
        })
    }
}

/// Why an object without `_id` cannot be used where texts must have names.
pub fn no_id(line: &str) -> String {
    null_among(line, ["_id", "id"])
        .unwrap_or_else(|| format!("no \"_id\" among the keys {}", keys_and_meant(line, &ID_LIKE)))
}

/// What is wrong with the first of `keys` that the object on `line` has without a value.
fn null_among(line: &str, keys: [&str; 2]) -> Option<String> {
    let fields = json_fields(line);
    let key = keys.into_iter().find(|key| fields.iter().any(|(own, value)| own == key && *value == "null"))?;
    Some(format!("\"{key}\" is null: a string is expected"))
}

/// The key of the object on `line` that is perhaps meant as the text's name, if it has neither `_id` nor `id`.
pub fn like_an_id(line: &str) -> Option<String> {
    json_fields(line).into_iter().map(|(key, _)| key).find(|key| is_like(key, &ID_LIKE))
}

/// The name in the field `key`.
///
/// # Errors
/// The reason, to be put behind its place.
pub fn id_of(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(id) => Ok(id),
        Value::Number(id) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        Value::Number(id) => Err(format!(
            "\"{key}\" is a number beyond 64 bits or with a fraction (about {id}), of which not every digit is kept: write it \
             as a string"
        )),
        other => Err(format!("\"{key}\" is {other}: a string is expected")),
    }
}

fn string(key: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(_) => Err(format!("\"{key}\" is a list: a string is expected")),
        Value::Object(_) => Err(format!("\"{key}\" is an object: a string is expected")),
        other => Err(format!("\"{key}\" is {other}: a string is expected")),
    }
}

/// The object's keys, and the one that is like one of `names`.
fn keys_and_meant(line: &str, names: &[&str]) -> String {
    let keys: Vec<String> = json_fields(line).into_iter().map(|(key, _)| key).collect();
    let mut shown = keys.iter().take(SHOWN_KEYS).map(|key| format!("{key:?}")).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN_KEYS {
        shown += ", …";
    }
    match keys.iter().find(|key| is_like(key, names)) {
        Some(key) => format!("{shown}; perhaps {key:?} is what is meant: rename it"),
        None => format!("{shown}; expected an object like {{\"_id\": \"d1\", \"title\": \"…\", \"text\": \"…\"}}"),
    }
}

fn is_like(key: &str, names: &[&str]) -> bool {
    let plain: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    names.contains(&plain.as_str()) || (plain == "text" && names.contains(&"texts"))
}

/// Calls `visit` with each line of the file at `path`, also of blank ones, and its place.
///
/// # Errors
/// The file cannot be read or is evidently another, a line is not UTF-8, or `visit` refuses a line by giving a reason.
pub fn for_each_line(path: &Path, visit: impl FnMut(&ReadAt, &str) -> Result<(), String>) -> Result<(), CommandError> {
    for_each_line_of(LineReader::open(path, LinesOf::Text)?, path, visit)
}

/// As [`for_each_line`], from an open reader; `path` only names it in errors.
///
/// # Errors
/// As [`for_each_line`].
pub fn for_each_line_of(
    mut reader: LineReader,
    path: &Path,
    mut visit: impl FnMut(&ReadAt, &str) -> Result<(), String>,
) -> Result<(), CommandError> {
    let path = Arc::from(path);
    let mut bytes = Vec::new();
    while let Some(line) = reader.read_line(&mut bytes)? {
        let at = ReadAt::line(&path, line);
        utf8(&bytes).and_then(|text| visit(&at, text)).map_err(|reason| at.error(reason))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_goes_before_the_text_when_there_is_one() {
        let text = |line: &str| TextRecord::parse(line).unwrap().full_text().unwrap();
        assert_eq!(text(r#"{"_id": "1", "title": "A", "text": "b", "metadata": {}}"#), "A b");
        assert_eq!(text(r#"{"_id": "1", "title": "", "text": "b"}"#), "b");
        assert_eq!(text(r#"{"_id": "1", "title": " ", "text": "b"}"#), "b");
        assert_eq!(text(r#"{"_id": "1", "title": null, "text": "b"}"#), "b");
        assert_eq!(text(r#"{"query": "b"}"#), "b");
        let titled = |line: &str| TextRecord::parse(line).unwrap().titled_text().unwrap();
        assert_eq!(titled(r#"{"title": " A ", "text": " b "}"#), ("A   b".to_owned(), 3));
        assert_eq!(titled(r#"{"title": "A", "text": " "}"#), ("A".to_owned(), 2));
        assert_eq!(titled(r#"{"text": "b"}"#), ("b".to_owned(), 0));
        let titled = TextRecord::parse(r#"{"query": {"a": 1}, "text": "c", "title": 3}"#).unwrap();
        assert_eq!(titled.text, "c");
        assert_eq!(titled.full_text().unwrap_err(), "\"title\" is 3: a string is expected");
    }

    #[test]
    fn ids_are_taken_as_they_are_written_or_refused() {
        let id = |line: &str| TextRecord::parse(line).map(|record| record.id);
        let named = |id: &str| Ok(Some(id.to_owned()));
        assert_eq!(id(r#"{"_id": 12, "text": ""}"#), named("12"));
        assert_eq!(id(r#"{"_id": 18446744073709551615, "text": ""}"#), named("18446744073709551615"));
        assert_eq!(id(r#"{"id": 1, "_id": "a", "text": ""}"#), named("a"));
        assert_eq!(id(r#"{"id": "b", "_id": null, "text": ""}"#), named("b"));
        assert_eq!(id(r#"{"text": ""}"#), Ok(None));
        for lost in ["18446744073709551616", "1.0", "1e3", "-0"] {
            let reason = id(&format!(r#"{{"_id": {lost}, "text": ""}}"#)).unwrap_err();
            assert!(reason.contains("\"_id\" is a number") && reason.contains("string"), "{reason}");
        }
        assert!(id(r#"{"id": [1], "text": ""}"#).unwrap_err().contains("\"id\" is [1]"));
        assert!(id(r#"{"_id": "a", "_id": "b", "text": ""}"#).unwrap_err().contains("duplicate field `_id`"));
    }

    #[test]
    fn what_is_nearly_our_key_is_named() {
        let reason = |line: &str| TextRecord::parse(line).unwrap_err();
        for key in ["contents", "content", "passage", "sentence", "Text", "document"] {
            let told = reason(&format!(r#"{{"_id": "a", "{key}": "b"}}"#));
            assert!(told.contains(&format!("perhaps {key:?} is what is meant")), "{told}");
        }
        assert!(reason(r#"{"a": "b"}"#).contains("no \"text\" among the keys \"a\"; expected an object like"));
        assert_eq!(reason(r#"{"_id": "a", "text" : null }"#), "\"text\" is null: a string is expected");
        assert_eq!(reason(r#"{"query": null}"#), "\"query\" is null: a string is expected");
        assert_eq!(no_id(r#"{"_id": null, "text": "a"}"#), "\"_id\" is null: a string is expected");
        assert!(reason(r#"{"text": 3}"#).contains("\"text\" is 3: a string is expected"));
        assert!(reason(r#"{"text": ["a"]}"#).contains("\"text\" is a list"));
        assert!(no_id(r#"{"doc_id": 3, "text": "a"}"#).contains("perhaps \"doc_id\""));
        assert_eq!(like_an_id(r#"{"ID": 3, "text": "a"}"#).as_deref(), Some("ID"));
        assert_eq!(like_an_id(r#"{"label": 3, "text": "a"}"#), None);
    }

    #[test]
    fn a_query_is_no_passage() {
        let reason = TextRecord::parse_passage(r#"{"query": "a", "pos": ["b"]}"#).unwrap_err();
        assert!(reason.contains("\"query\" is no passage"), "{reason}");
        assert_eq!(TextRecord::parse_passage(r#"{"query": "a", "text": "b"}"#).unwrap().text, "b");
    }

    fn error(bytes: &'static [u8], visit: impl FnMut(&ReadAt, &str) -> Result<(), String>) -> String {
        let path = Path::new("c.jsonl");
        let read = LineReader::over(path, bytes, LinesOf::Text).map_err(Into::into);
        read.and_then(|reader| for_each_line_of(reader, path, visit)).unwrap_err().to_string()
    }

    #[test]
    fn a_bad_line_names_file_line_and_reason() {
        let message = error(b"{\"text\": \"a\"}\n{\"text\": \n", |_, line| TextRecord::parse(line).map(drop));
        assert!(message.starts_with("c.jsonl:2: not valid JSON: EOF"), "{message}");
        let message = error(b"[1, \"title\", \"text\"]\n", |_, line| TextRecord::parse(line).map(drop));
        assert!(message.starts_with("c.jsonl:1: not a JSON object but a list"), "{message}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert!(error(b"ok\n\xff\xfe\n", |_, _| Ok(())).starts_with("c.jsonl:2: not UTF-8 from byte 1"));
        let message = error(b"\x28\xb5\x2f\xfd\n", |_, _| Ok(()));
        assert!(message.starts_with("c.jsonl: cannot be read beyond line 0: "), "{message}");
    }
}
