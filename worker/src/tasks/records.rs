//! Reading the tasks' inputs line by line: plain text, and JSON Lines whose objects hold a text.
//!
//! Not here: training rows on their way into a token store, which the sampler reads.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

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
        let record: Self = serde_json::from_str(line).map_err(|e| json_reason(&e))?;
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
    serde_json::from_str(line).map_err(|e| json_reason(&e))
}

/// Calls `visit` with the number (from 1) and content of each line of the file at `path`.
///
/// # Errors
/// The file cannot be read, a line is not UTF-8, or `visit` refuses a line by giving a reason.
pub fn for_each_line(path: &Path, visit: impl FnMut(usize, &str) -> Result<(), String>) -> Result<(), TaskError> {
    let file = File::open(path).map_err(TaskError::file(path))?;
    for_each_line_in(BufReader::with_capacity(1 << 20, file), path, visit)
}

/// As [`for_each_line`], from an open reader; `path` only names it in errors.
///
/// # Errors
/// As [`for_each_line`].
pub fn for_each_line_in(
    mut reader: impl BufRead,
    path: &Path,
    mut visit: impl FnMut(usize, &str) -> Result<(), String>,
) -> Result<(), TaskError> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(TaskError::file(path))? == 0 {
            break;
        }
        let line = std::str::from_utf8(&bytes).map_err(|e| not_text(&bytes, e.valid_up_to()));
        line.and_then(|line| visit(number, without_ends(line))).map_err(|reason| TaskError::Line {
            path: path.to_owned(),
            line: number,
            reason,
        })?;
    }
    Ok(())
}

/// The line without its end, and without the mark that some editors put before a file.
fn without_ends(line: &str) -> &str {
    line.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r'])
}

fn not_text(bytes: &[u8], valid_bytes: usize) -> String {
    match bytes {
        [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => "compressed: unpack the file first".into(),
        _ => format!("not UTF-8 from byte {}", valid_bytes + 1),
    }
}

/// serde_json's reason with the column; its line number, always 1 here, would only mislead.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    format!("not the expected JSON object: {reason} at column {}", error.column())
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

    #[test]
    fn a_bad_line_names_file_line_and_reason() {
        let input = "{\"text\": \"a\"}\n{\"text\": \n".as_bytes();
        let error = for_each_line_in(input, Path::new("c.jsonl"), |_, line| TextRecord::parse(line).map(drop));
        let message = error.unwrap_err().to_string();
        assert!(message.starts_with("c.jsonl:2: not the expected JSON object: EOF"), "{message}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = for_each_line_in(&b"ok\n\xff\xfe\n"[..], Path::new("c.txt"), |_, _| Ok(()));
        assert_eq!(error.unwrap_err().to_string(), "c.txt:2: not UTF-8 from byte 1");
        let error = for_each_line_in(&b"\x28\xb5\x2f\xfd\n"[..], Path::new("c.zst"), |_, _| Ok(()));
        assert_eq!(error.unwrap_err().to_string(), "c.zst:1: compressed: unpack the file first");
    }
}
