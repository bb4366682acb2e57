//! Reading the tasks' inputs line by line: plain text, and JSON Lines whose objects hold a text.
//!
//! The lines themselves are the sampler's: plain or compressed, with or without marks, the same for all commands.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use tercet_sampler::{LineReader, LinesOf, RowError, json_object, utf8};

use super::error::TaskError;

/// One JSON object that holds a text: a BEIR document or query, or a row of anyone's corpus. Other keys are ignored.
#[derive(Debug, Deserialize)]
pub struct TextRecord {
    /// The text's name, `_id` or `id`; a number is taken as its digits.
    #[serde(rename = "_id", alias = "id", default, deserialize_with = "string_or_number")]
    pub id: Option<String>,
    title: Option<String>,
    #[serde(alias = "query")]
    text: Option<String>,
}

impl TextRecord {
    /// The object on one line of JSON.
    ///
    /// # Errors
    /// The reason, to be put behind file and line.
    pub fn parse(line: &str) -> Result<Self, String> {
        let record: Self = json_object(line)?;
        match record.text {
            Some(_) => Ok(record),
            None => {
                Err("no \"text\"; expected an object like {\"_id\": \"d1\", \"title\": \"…\", \"text\": \"…\"}".into())
            }
        }
    }

    /// What the model reads: the title, if there is one, a space, and the text.
    pub fn full_text(self) -> String {
        let text = self.text.unwrap_or_default();
        match self.title {
            Some(title) if !title.is_empty() => format!("{title} {text}"),
            _ => text,
        }
    }
}

/// The JSON object on one line, with all its fields.
///
/// # Errors
/// The reason, to be put behind file and line.
pub fn parse_object(line: &str) -> Result<Map<String, Value>, String> {
    json_object(line)
}

/// Calls `visit` with the number (from 1) and content of each line of the file at `path`, also of blank ones.
///
/// # Errors
/// The file cannot be read or is evidently another, a line is not UTF-8, or `visit` refuses a line by giving a reason.
pub fn for_each_line(
    path: &Path,
    lines_of: LinesOf,
    visit: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), TaskError> {
    for_each_line_of(LineReader::open(path, lines_of)?, path, visit)
}

/// As [`for_each_line`], from an open reader; `path` only names it in errors.
///
/// # Errors
/// As [`for_each_line`].
pub fn for_each_line_of(
    mut reader: LineReader,
    path: &Path,
    mut visit: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), TaskError> {
    let mut bytes = Vec::new();
    while let Some(line) = reader.read_line(&mut bytes)? {
        utf8(&bytes).and_then(|text| visit(line as usize, text)).map_err(|reason| RowError::Line {
            path: path.to_owned(),
            line,
            reason,
        })?;
    }
    Ok(())
}

fn string_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Value::String(id)) => Ok(Some(id)),
        Some(Value::Number(id)) => Ok(Some(id.to_string())),
        Some(other) => Err(serde::de::Error::custom(format!("\"_id\" must be a string, found {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_goes_before_the_text_when_there_is_one() {
        let text = |line: &str| TextRecord::parse(line).unwrap().full_text();
        assert_eq!(text(r#"{"_id": "1", "title": "A", "text": "b", "metadata": {}}"#), "A b");
        assert_eq!(text(r#"{"_id": "1", "title": "", "text": "b"}"#), "b");
        assert_eq!(text(r#"{"_id": "1", "title": null, "text": "b"}"#), "b");
        assert_eq!(text(r#"{"query": "b"}"#), "b");
    }

    #[test]
    fn ids_may_be_numbers() {
        assert_eq!(TextRecord::parse(r#"{"_id": 12, "text": ""}"#).unwrap().id.as_deref(), Some("12"));
        assert_eq!(TextRecord::parse(r#"{"text": ""}"#).unwrap().id, None);
    }

    fn error(bytes: &'static [u8], visit: impl FnMut(usize, &str) -> Result<(), String>) -> String {
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
