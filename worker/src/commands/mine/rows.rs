//! The rows to find negatives for: read as training reads them, written as they were but for what mining changes.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tercet_sampler::{ReadAt, Row, WrittenRow};

use crate::files::CommandError;

/// One row.
#[derive(Debug)]
pub(super) struct MinedRow {
    /// Where it was read.
    pub at: ReadAt,
    /// What training reads of it.
    pub row: Row,
    /// What the model reads: the prompt, if there is one, and the query.
    pub query: String,
    /// All its fields as they are written, in their order.
    fields: Vec<(String, String)>,
}

impl MinedRow {
    fn of(WrittenRow { at, row, fields }: WrittenRow) -> Self {
        Self { at, query: row.query_text().into_owned(), row, fields }
    }

    /// Texts that name the query: with its prompt, and alone.
    pub fn queries(&self) -> [&str; 2] {
        [&self.query, &self.row.query]
    }

    /// The row as JSON with these negatives, and without scores of those that it had.
    pub fn with_negatives(&self, negatives: &[&str]) -> String {
        let negatives = Value::from(negatives).to_string();
        let mut is_placed = false;
        let mut parts = Vec::with_capacity(self.fields.len() + 1);
        for (key, value) in self.fields.iter().filter(|(key, _)| key != "neg_scores") {
            let is_neg = key == "neg";
            is_placed |= is_neg;
            parts.push(format!("{}:{}", Value::from(key.as_str()), if is_neg { &negatives } else { value }));
        }
        if !is_placed {
            parts.push(format!("\"neg\":{negatives}"));
        }
        format!("{{{}}}", parts.join(","))
    }
}

/// The rows of a file, or of a folder of Hugging Face `datasets`.
pub(super) fn read_rows(path: &Path) -> Result<Vec<MinedRow>, CommandError> {
    let rows: Vec<MinedRow> = WrittenRow::read_all(path)?.into_iter().map(MinedRow::of).collect();
    match rows.is_empty() {
        true => Err(CommandError::Data { path: path.to_owned(), reason: "holds no row".into() }),
        false => Ok(rows),
    }
}

/// Each text that `texts` gives, once, and its place.
pub(super) fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, HashMap<&'a str, usize>) {
    let (mut all, mut places) = (Vec::new(), HashMap::new());
    for text in texts {
        places.entry(text).or_insert_with(|| {
            all.push(text);
            all.len() - 1
        });
    }
    (all, places)
}

/// The row on a line of JSON.
#[cfg(test)]
pub(super) fn row_of(line: &str) -> Result<MinedRow, String> {
    let at = ReadAt::line(&Path::new("rows.jsonl").into(), 1);
    WrittenRow::of_line(at, line.as_bytes()).map(MinedRow::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_what_it_has_as_it_is_written() {
        let line = r#"{"id": 123456789012345678901, "query": "q", "neg": ["old"], "neg_scores": [1], "pos": ["p"], "x": 1.10}"#;
        let row = row_of(line).unwrap();
        let expected = r#"{"id":123456789012345678901,"query":"q","neg":["a","b\""],"pos":["p"],"x":1.10}"#;
        assert_eq!(row.with_negatives(&["a", "b\""]), expected);
        let row = row_of(r#"{"query": "q", "pos": ["p"], "prompt": "find: "}"#).unwrap();
        assert_eq!(row.with_negatives(&[]), r#"{"query":"q","pos":["p"],"prompt":"find: ","neg":[]}"#);
        assert_eq!(row.queries(), ["find: q", "q"]);
    }

    #[test]
    fn rows_are_refused_as_training_refuses_them() {
        let reason = |line: &str| row_of(line).unwrap_err();
        assert!(reason(r#"{"pos": ["a"]}"#).contains("\"query\" is missing"));
        assert!(reason(r#"{"query": "q", "pos": []}"#).contains("\"pos\" is empty"));
        assert!(reason(r#"{"query": "q", "pos": ["a", ""]}"#).contains("\"pos[1]\""));
        assert!(reason("[1]").starts_with("not a JSON object"));
    }
}
