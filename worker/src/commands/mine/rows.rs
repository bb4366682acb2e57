//! The rows to find negatives for: read as training reads them, written as they were but for what mining changes.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_sampler::{ReadAt, Row, WrittenRow, WrittenRows};

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

    /// Whether it has `answers`, whatever they are.
    pub fn has_answers(&self) -> bool {
        self.fields.iter().any(|(key, value)| key == "answers" && !["null", "[]"].contains(&value.trim()))
    }

    /// Its `answers`: a list of strings, or one.
    ///
    /// # Errors
    /// The reason: they are something else.
    pub fn answers(&self) -> Result<Vec<String>, String> {
        let Some((_, value)) = self.fields.iter().find(|(key, _)| key == "answers") else { return Ok(Vec::new()) };
        let value: Value = serde_json::from_str(value).map_err(|error| error.to_string())?;
        let string = |value: &Value| value.as_str().map(str::to_owned);
        match &value {
            Value::Null => Some(Vec::new()),
            Value::String(answer) => Some(vec![answer.clone()]),
            Value::Array(answers) => answers.iter().map(string).collect(),
            _ => None,
        }
        .ok_or_else(|| format!("\"answers\" is {value}: a list of strings is expected"))
    }

    /// The row as JSON with these negatives. Scores are of its positives and of them; without them it has none of
    /// negatives that it no longer has.
    pub fn with_negatives(&self, negatives: &[&str], scores: Option<[&[f32]; 2]>) -> String {
        let list = |scores: &[f32]| serde_json::to_string(scores).unwrap_or_default(); // numbers have a form
        let mut new = vec![("neg", Some(Value::from(negatives).to_string()))];
        match scores {
            Some([of_positives, of_negatives]) => {
                new.extend([("pos_scores", Some(list(of_positives))), ("neg_scores", Some(list(of_negatives)))]);
            }
            None => new.push(("neg_scores", None)),
        }
        let written = |key: &str, value: &str| format!("{}:{value}", Value::from(key));
        let mut parts = Vec::with_capacity(self.fields.len() + new.len());
        for (key, value) in &self.fields {
            match new.iter().position(|(own, _)| own == key) {
                None => parts.push(written(key, value)),
                Some(place) => parts.extend(new.remove(place).1.map(|value| written(key, &value))),
            }
        }
        parts.extend(new.iter().filter_map(|(key, value)| Some(written(key, value.as_ref()?))));
        format!("{{{}}}", parts.join(","))
    }
}

/// Calls `visit` with the rows of `paths`, `count` at a time, and the number of the first, from 0; rows of different
/// paths are not put together.
///
/// # Errors
/// A file or a row that cannot be used; what `visit` fails with.
pub(super) fn for_each_batch(
    paths: &[PathBuf],
    count: usize,
    mut visit: impl FnMut(u64, &Path, &[MinedRow]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for path in paths {
        let mut rows = WrittenRows::open(path).map_err(CommandError::from)?;
        let mut first = 0;
        loop {
            let batch: Result<Vec<MinedRow>, _> = rows.by_ref().take(count).map(|row| row.map(MinedRow::of)).collect();
            let batch = batch.map_err(CommandError::from)?;
            if batch.is_empty() {
                break;
            }
            visit(first, path, &batch)?;
            first += batch.len() as u64;
        }
        if first == 0 {
            return Err(CommandError::Data { path: path.to_owned(), reason: "holds no row".into() }.into());
        }
    }
    Ok(())
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
        assert_eq!(row.with_negatives(&["a", "b\""], None), expected);
        let scored = r#"{"id":123456789012345678901,"query":"q","neg":["a"],"neg_scores":[0.1],"pos":["p"],"x":1.10,"pos_scores":[2.5]}"#;
        assert_eq!(row.with_negatives(&["a"], Some([&[2.5], &[0.1]])), scored);
        let row = row_of(r#"{"query": "q", "pos": ["p"], "prompt": "find: "}"#).unwrap();
        assert_eq!(row.with_negatives(&[], None), r#"{"query":"q","pos":["p"],"prompt":"find: ","neg":[]}"#);
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

    #[test]
    fn answers_are_strings() {
        let answers =
            |value: &str| row_of(&format!(r#"{{"query": "q", "pos": ["a"], "answers": {value}}}"#)).unwrap().answers();
        assert_eq!(answers(r#"["x", "y"]"#).unwrap(), ["x", "y"]);
        assert_eq!(answers(r#""x""#).unwrap(), ["x"]);
        assert!(answers("null").unwrap().is_empty());
        assert!(answers("[1]").unwrap_err().contains("\"answers\" is [1]"));
    }
}
