//! The texts alone of one file: objects or columns with a `text`, or lines of plain text.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Deserialize;
use serde_json::Value;

use super::fields::text_of;
use super::keys::{TEXT_KEYS, missing_text};
use super::parse;
use super::row::Text;
use super::schema::check_text_columns;
use super::source::RecordSource;
use crate::error::RowError;
use crate::lines::{LinesOf, json_object, utf8};
use crate::place::Place;
use crate::records::{Numbered, Record, Records, is_of_objects, must_be_texts};

/// A text that is read but perhaps not yet parsed, so that threads can share the parsing.
#[derive(Debug)]
pub(crate) enum RawText {
    /// A line of JSON.
    Object(Vec<u8>),
    /// A line that is the text.
    Line(Vec<u8>),
    /// A row of columns.
    Text(Text),
}

impl RawText {
    /// The text. The error is the reason alone.
    pub(crate) fn into_text(self) -> Result<Text, String> {
        match self {
            Self::Object(line) => parse_text(utf8(&line)?),
            Self::Line(line) => Ok(Text { text: utf8(&line)?.to_owned(), language: None }),
            Self::Text(text) => Ok(text),
        }
    }
}

fn parse_text(line: &str) -> Result<Text, String> {
    #[derive(Deserialize)]
    struct Fields {
        text: Option<Value>,
        lang: Option<Value>,
        language: Option<Value>,
    }
    let Fields { text, lang, language } = json_object(line)?;
    let text = parse::text("text", text.ok_or_else(|| missing_text("keys", &parse::keys_of(line)))?)?;
    Ok(Text { text, language: parse::language(lang, language) })
}

/// Reads a file's texts in order. Columns are told by their content, JSON Lines by the file's name.
#[derive(Debug)]
pub(crate) struct TextSource {
    path: PathBuf,
    records: Records,
    lines_of: LinesOf,
    /// Nothing was read yet.
    is_new: bool,
}

impl RecordSource for TextSource {
    type Raw = RawText;

    fn open(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Self, RowError> {
        let lines_of = if is_of_objects(path) { LinesOf::Objects } else { LinesOf::Text };
        let records = Records::open_of(path, lines_of, bytes_read, &|name| TEXT_KEYS.contains(&name))?;
        if records.schema().is_none() {
            must_be_texts(path)?;
        }
        let checked = records.schema().map_or(Ok(()), check_text_columns);
        checked.map_err(|reason| RowError::Columns { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), records, lines_of, is_new: true })
    }

    fn next(&mut self) -> Result<Option<Numbered<RawText>>, RowError> {
        let Some((number, record)) = self.records.next()? else { return Ok(None) };
        let text = record.and_then(|record| match record {
            Record::Line(line) if self.lines_of == LinesOf::Objects => Ok(RawText::Object(line)),
            Record::Line(line) => Ok(RawText::Line(line)),
            Record::Columns(batch, i) => text_of(batch, i).map(RawText::Text),
        });
        if std::mem::take(&mut self.is_new)
            && let Ok(RawText::Line(line)) = &text
            && utf8(line).and_then(parse_text).is_ok()
        {
            let reason = "its lines are objects with a \"text\", and by its name they would be taken for texts themselves: \
                          name it .jsonl (.gz, .bz2 or .zst may follow)";
            return Err(RowError::Foreign { path: self.path.clone(), reason: reason.into() });
        }
        Ok(Some((number, text)))
    }

    fn skip_to(&mut self, number: u64) -> Result<(), RowError> {
        self.records.skip_to(number)
    }

    fn place(&self) -> Place {
        self.records.place()
    }

    fn len(raw: &RawText) -> usize {
        match raw {
            RawText::Object(line) | RawText::Line(line) => line.len(),
            RawText::Text(text) => text.text.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_its_text_and_perhaps_its_language() {
        let text = |line: &str| parse_text(line).map(|text| (text.text, text.language));
        assert_eq!(text(r#"{"id": 7, "text": " a b\n"}"#), Ok((" a b\n".into(), None)));
        assert_eq!(text(r#"{"lang": "de", "text": "a"}"#), Ok(("a".into(), Some("de".into()))));
        for (line, expected) in [
            (r#"{"content": "a"}"#, r#""text" is missing among the keys "content"; perhaps "content""#),
            (r#"{"text": null}"#, r#""text" is missing among the keys "text" ("#),
            (r#"{"text": ["a"]}"#, r#""text" is a list: a string is expected"#),
            (r#"{"text": " \t"}"#, r#""text" has no text"#),
            (r#"{"text": "a", "text": "b"}"#, "duplicate field `text`"),
            (r#""a""#, "not a JSON object"),
        ] {
            let reason = text(line).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
