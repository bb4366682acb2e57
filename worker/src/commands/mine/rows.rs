//! The rows to find negatives for: read as training reads them, written as they were but for what mining changes.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tercet_sampler::{LinesOf, Row, parse_row};

use crate::commands::error::TaskError;
use crate::commands::records::{fields_of, for_each_line};

/// One row.
#[derive(Debug)]
pub(super) struct MinedRow {
    /// Its line, from 1.
    pub line: u64,
    /// What training reads of it.
    pub row: Row,
    /// What the model reads: the prompt, if there is one, and the query.
    pub query: String,
    /// All its fields as they are written, in their order.
    fields: Vec<(String, String)>,
}

impl MinedRow {
    /// The row on line `number`.
    ///
    /// # Errors
    /// The reason, to be put behind file and line.
    pub fn parse(number: usize, line: &str) -> Result<Self, String> {
        let row = parse_row(line.as_bytes())?;
        let fields = fields_of(line).into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        Ok(Self { line: number as u64, query: row.query_text().into_owned(), row, fields })
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

/// The rows of a file.
pub(super) fn read_rows(path: &Path) -> Result<Vec<MinedRow>, TaskError> {
    let mut rows = Vec::new();
    for_each_line(path, LinesOf::Objects, |number, line| {
        if !line.trim().is_empty() {
            rows.push(MinedRow::parse(number, line)?);
        }
        Ok(())
    })?;
    match rows.is_empty() {
        true => Err(TaskError::Data { path: path.to_owned(), reason: "holds no row".into() }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_what_it_has_as_it_is_written() {
        let line = r#"{"id": 123456789012345678901, "query": "q", "neg": ["old"], "neg_scores": [1], "pos": ["p"], "x": 1.10}"#;
        let row = MinedRow::parse(3, line).unwrap();
        let expected = r#"{"id":123456789012345678901,"query":"q","neg":["a","b\""],"pos":["p"],"x":1.10}"#;
        assert_eq!(row.with_negatives(&["a", "b\""]), expected);
        let row = MinedRow::parse(1, r#"{"query": "q", "pos": ["p"], "prompt": "find: "}"#).unwrap();
        assert_eq!(row.with_negatives(&[]), r#"{"query":"q","pos":["p"],"prompt":"find: ","neg":[]}"#);
        assert_eq!(row.queries(), ["find: q", "q"]);
    }

    #[test]
    fn rows_are_refused_as_training_refuses_them() {
        let reason = |line: &str| MinedRow::parse(1, line).unwrap_err();
        assert!(reason(r#"{"pos": ["a"]}"#).contains("\"query\" is missing"));
        assert!(reason(r#"{"query": "q", "pos": []}"#).contains("\"pos\" is empty"));
        assert!(reason(r#"{"query": "q", "pos": ["a", ""]}"#).contains("\"pos[1]\""));
        assert!(reason("[1]").starts_with("not a JSON object"));
    }
}
