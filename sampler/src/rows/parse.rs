//! Turns one line of JSON into one [`Row`], or gives the reason why not.
//!
//! A good row is read directly into its fields. Any other line is read again, as values of any type, so that the
//! mistake can be named.

use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::keys::{self, Key};
use super::kind;
use super::like::Held;
use super::row::{Row, is_blank, language_name, no_text, not_finite, wrong_count};
use crate::lines::{json_fields, json_object, utf8};

/// The fields that are used, of any type, so that a wrong one can be named. Others are ignored.
#[derive(Deserialize)]
struct Fields {
    query: Option<Value>,
    pos: Option<Value>,
    neg: Option<Value>,
    pos_scores: Option<Value>,
    neg_scores: Option<Value>,
    prompt: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    lang: Option<Value>,
    language: Option<Value>,
}

/// A row whose fields have the right types.
#[derive(Deserialize)]
struct TypedFields {
    query: String,
    pos: Vec<String>,
    neg: Option<Vec<String>>,
    pos_scores: Option<Vec<f64>>,
    neg_scores: Option<Vec<f64>>,
    prompt: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    lang: Option<Value>,
    language: Option<Value>,
}

impl TypedFields {
    /// The row, if nothing is wrong with it.
    fn into_row(self) -> Option<Row> {
        let Self { query, pos, neg, prompt, kind, .. } = self;
        let neg = neg.unwrap_or_default();
        let scores = |scores: Option<Vec<f64>>, expected: usize| match scores {
            None => Some(None),
            Some(scores) => {
                let scores: Vec<f32> = scores.into_iter().map(|score| score as f32).collect();
                (scores.len() == expected && scores.iter().all(|score| score.is_finite())).then_some(Some(scores))
            }
        };
        let pos_scores = scores(self.pos_scores, pos.len())?;
        let neg_scores = scores(self.neg_scores, neg.len())?;
        let is_good = !pos.is_empty() && [&query].into_iter().chain(&pos).chain(&neg).all(|text| !is_blank(text));
        let language = language(self.lang, self.language);
        is_good.then_some(Row {
            query,
            pos,
            neg,
            pos_scores,
            neg_scores,
            prompt,
            kind,
            language,
            near_keys: Vec::new(),
        })
    }
}

/// Parses one line.
///
/// # Errors
/// The line is not a row. The error is the reason alone; the caller adds file and line.
pub fn parse_row(line: &[u8]) -> Result<Row, String> {
    let line = utf8(line)?;
    let mut row = match json_object(line).ok().and_then(TypedFields::into_row) {
        Some(row) => row,
        None => row_of(line)?,
    };
    row.kind.as_deref().map_or(Ok(()), kind::check)?;
    row.near_keys = keys::near(&keys_of(line), || held_by_keys_of(line))?;
    Ok(row)
}

/// Reads the row field by field, so that the mistake can be named.
fn row_of(line: &str) -> Result<Row, String> {
    let fields: Fields = json_object(line)?;
    let missing = |field| keys::missing(field, "keys", &keys_of(line));
    let query = text("query", fields.query.ok_or_else(|| missing("query"))?)?;
    let pos = texts("pos", fields.pos.ok_or_else(|| missing("pos"))?)?;
    if pos.is_empty() {
        return Err("\"pos\" is empty: a row needs at least one positive".into());
    }
    let neg = fields.neg.map_or(Ok(Vec::new()), |neg| texts("neg", neg))?;
    let pos_scores = fields.pos_scores.map(|scores| numbers("pos_scores", scores, "pos", pos.len())).transpose()?;
    let neg_scores = fields.neg_scores.map(|scores| numbers("neg_scores", scores, "neg", neg.len())).transpose()?;
    let prompt = fields.prompt.map(|prompt| string("prompt", prompt)).transpose()?;
    let kind = fields.kind.map(|kind| string("type", kind)).transpose()?;
    let language = language(fields.lang, fields.language);
    Ok(Row { query, pos, neg, pos_scores, neg_scores, prompt, kind, language, near_keys: Vec::new() })
}

/// The row's own name of its language; anything else is ignored, as other fields are.
pub(super) fn language(lang: Option<Value>, language: Option<Value>) -> Option<String> {
    [lang, language].into_iter().flatten().find_map(|value| match value {
        Value::String(name) => language_name(&name),
        _ => None,
    })
}

/// The line's keys.
pub(super) fn keys_of(line: &str) -> Vec<Key> {
    serde_json::from_str(line).map(|Keys(keys)| keys).unwrap_or_default()
}

/// What the line's keys hold. A value that is beyond what is read, in a key that is ignored, hides no other.
fn held_by_keys_of(line: &str) -> Vec<(String, Held)> {
    let of = |value: &str| serde_json::from_str(value).map_or(Held::Other, |value| held(&value));
    json_fields(line).into_iter().map(|(name, value)| (name, of(value))).collect()
}

fn held(value: &Value) -> Held {
    match value {
        Value::Null => Held::Nothing,
        Value::Bool(_) => Held::Other,
        Value::Number(_) => Held::Number,
        Value::String(text) if is_blank(text) => Held::Nothing,
        Value::Object(fields) if fields.is_empty() => Held::Nothing,
        Value::String(_) | Value::Object(_) => Held::Texts,
        Value::Array(values) => match values.iter().map(held).find(|held| *held != Held::Nothing) {
            Some(Held::Number) => Held::Numbers,
            found => found.unwrap_or(Held::Nothing),
        },
    }
}

struct Keys(Vec<Key>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((name, value)) = object.next_entry::<String, Option<IgnoredAny>>()? {
                    keys.push(Key { name, is_null: value.is_none() });
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn string(field: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("\"{field}\" is {}: a string is expected", article(&other))),
    }
}

/// A string that is not blank.
pub(super) fn text(field: &str, value: Value) -> Result<String, String> {
    let text = string(field, value)?;
    if is_blank(&text) {
        return Err(no_text(field));
    }
    Ok(text)
}

fn texts(field: &str, value: Value) -> Result<Vec<String>, String> {
    let Value::Array(values) = value else {
        return Err(format!("\"{field}\" is {}: a list of strings is expected", article(&value)));
    };
    values.into_iter().enumerate().map(|(i, value)| text(&format!("{field}[{i}]"), value)).collect()
}

/// A list of numbers, one for each of the `expected` texts of `scored`.
fn numbers(field: &str, value: Value, scored: &str, expected: usize) -> Result<Vec<f32>, String> {
    let Value::Array(values) = value else {
        return Err(format!("\"{field}\" is {}: a list of numbers is expected", article(&value)));
    };
    if values.len() != expected {
        return Err(wrong_count(field, values.len(), scored, expected));
    }
    let number = |(i, value): (usize, &Value)| {
        let number =
            value.as_f64().ok_or_else(|| format!("\"{field}[{i}]\" is {}: a number is expected", article(value)))?;
        let single = number as f32;
        if !single.is_finite() {
            return Err(not_finite(&format!("{field}[{i}]"), number));
        }
        Ok(single)
    };
    values.iter().enumerate().map(number).collect()
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_row_is_read_and_unknown_fields_are_ignored() {
        let line = r#"{"id": [1, {"a": null}], "query": "q", "pos": ["p1", "p2"], "neg": ["n"],
            "pos_scores": [1, 0.5], "neg_scores": [-2e-1], "prompt": "", "type": "normal"}"#;
        let expected = Row {
            query: "q".into(),
            pos: vec!["p1".into(), "p2".into()],
            neg: vec!["n".into()],
            pos_scores: Some(vec![1.0, 0.5]),
            neg_scores: Some(vec![-0.2]),
            prompt: Some(String::new()),
            kind: Some("normal".into()),
            language: None,
            near_keys: vec![],
        };
        assert_eq!(parse_row(line.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn the_language_has_two_names_and_is_never_wrong() {
        for (fields, expected) in [
            (r#""lang": "de""#, Some("de")),
            (r#""language": "zh-Hant""#, Some("zh-Hant")),
            (r#""lang": 3, "language": "fr""#, Some("fr")),
            (r#""lang": "  ", "language": null"#, None),
        ] {
            let row = parse_row(format!(r#"{{"query": "q", "pos": ["p"], {fields}}}"#).as_bytes()).unwrap();
            assert_eq!(row.language.as_deref(), expected, "{fields}");
        }
    }

    #[test]
    fn null_is_as_good_as_missing() {
        let row = parse_row(br#"{"query": "q", "pos": ["p"], "neg": null, "pos_scores": null, "type": null}"#).unwrap();
        assert_eq!((row.neg.len(), row.pos_scores, row.kind), (0, None, None));
    }

    #[test]
    fn an_empty_list_is_as_good_as_missing() {
        let near = |rest: &str| parse_row(format!(r#"{{"query": "q", "pos": ["p"], {rest}}}"#).as_bytes());
        let told = near(r#""neg": [], "negatives": ["w9"]"#).unwrap().near_keys;
        assert_eq!(told, [keys::NearKey { key: "negatives".into(), meant: "neg" }]);
        assert_eq!(near(r#""negatives": []"#).unwrap().near_keys, []);
        assert_eq!(near(r#""neg": ["n"], "negatives": ["w9"]"#).unwrap().near_keys, []);
        assert!(near(r#""negatives": ["w9"]"#).unwrap_err().contains("would be ignored"));
        // What cannot be read in a key that nobody reads hides nothing.
        for ignored in [r#""x \ud83d""#, "1e999", &format!("{}{}", "[".repeat(130), "]".repeat(130))] {
            let said = near(&format!(r#""negatives": ["w9"], "title": {ignored}"#)).unwrap_err();
            assert!(said.contains("would be ignored"), "{said}");
        }
    }

    #[test]
    fn what_a_key_holds_decides_with_its_name() {
        let near = |rest: &str| parse_row(format!(r#"{{"query": "q", "pos": ["p"], {rest}}}"#).as_bytes());
        let told = |rest: &str| near(rest).unwrap().near_keys.first().map(|near| (near.key.clone(), near.meant));
        for lost in [r#""neg_list": ["a"]"#, r#""negative_sentence": "a""#, r#""mined_negatives": [{"text": "a"}]"#] {
            assert!(near(lost).unwrap_err().ends_with("and \"neg\" is missing: rename it, or take it out"), "{lost}");
        }
        assert!(near(r#""neg": ["n"], "scores_neg": [1]"#).unwrap_err().contains("\"neg_scores\" is missing"));
        assert_eq!(told(r#""neg": [], "neg_list": ["a"]"#), Some(("neg_list".into(), "neg")));
        assert_eq!(told(r#""negitive": ["a"]"#), Some(("negitive".into(), "neg")));
        assert_eq!(told(r#""ce_scores": [1, 2]"#), Some(("ce_scores".into(), "pos_scores")));
        assert_eq!(told(r#""bge_score": 0.5"#), Some(("bge_score".into(), "pos_scores")));
        for rest in [
            r#""negatives": 7"#,
            r#""hard_negatives": true"#,
            r#""negatives": [""]"#,
            r#""negative_reviews": 3"#,
            r#""neg_ids": ["d1"]"#,
            r#""score": "five stars""#,
            r#""quality_score": 0.5"#,
            r#""neg": ["n"], "neg_list": ["a"]"#,
        ] {
            assert_eq!(told(rest), None, "{rest}");
        }
    }

    #[test]
    fn every_mistake_has_its_reason() {
        for (line, reason) in [
            ("[1]", "not a JSON object"),
            ("query", "not a JSON object"),
            (r#"{"query": "q", "pos": ["p"]"#, "not valid JSON: EOF while parsing an object (column 27)"),
            (r#"{"query": "q", "pos": ["p"]} x"#, "not valid JSON: trailing characters (column 30)"),
            (
                r#"{"query": "q", "query": "r", "pos": ["p"]}"#,
                "not the expected JSON object: duplicate field `query` (column 22)",
            ),
            (r#"{"pos": ["p"]}"#, r#""query" is missing among the keys "pos""#),
            (r#"{"query": "q", "pos": ["p"], "negs": ["n"]}"#, r#""negs" would be ignored, and "neg" is missing"#),
            (r#"{"query": "q"}"#, r#""pos" is missing"#),
            (r#"{"query": null, "pos": ["p"]}"#, r#""query" is missing"#),
            (r#"{"query": 3, "pos": ["p"]}"#, r#""query" is a number: a string is expected"#),
            (r#"{"query": " \n ", "pos": ["p"]}"#, r#""query" has no text"#),
            (r#"{"query": "q", "pos": "p"}"#, r#""pos" is a string: a list of strings is expected"#),
            (r#"{"query": "q", "pos": []}"#, r#""pos" is empty: a row needs at least one positive"#),
            (r#"{"query": "q", "pos": ["p", ""]}"#, r#""pos[1]" has no text"#),
            (r#"{"query": "q", "pos": ["p", null]}"#, r#""pos[1]" is null: a string is expected"#),
            (
                r#"{"query": "q", "pos": ["p"], "neg": {"n": 1}}"#,
                r#""neg" is an object: a list of strings is expected"#,
            ),
            (r#"{"query": "q", "pos": ["p"], "neg": ["\t"]}"#, r#""neg[0]" has no text"#),
            (
                r#"{"query": "q", "pos": ["p"], "pos_scores": 1}"#,
                r#""pos_scores" is a number: a list of numbers is expected"#,
            ),
            (
                r#"{"query": "q", "pos": ["p"], "pos_scores": [1, 2]}"#,
                r#""pos_scores" has 2 numbers, but "pos" has 1 texts"#,
            ),
            (
                r#"{"query": "q", "pos": ["p"], "neg_scores": [1]}"#,
                r#""neg_scores" has 1 numbers, but "neg" has 0 texts"#,
            ),
            (
                r#"{"query": "q", "pos": ["p"], "pos_scores": ["1"]}"#,
                r#""pos_scores[0]" is a string: a number is expected"#,
            ),
            (r#"{"query": "q", "pos": ["p"], "pos_scores": [1e60]}"#, "too large for a 32-bit float"),
            (
                r#"{"query": "q", "pos": ["p"], "pos_scores": [NaN]}"#,
                "not valid JSON: expected value (column 45): NaN is not JSON",
            ),
            (r#"{"query": "q", "pos": ["p"], "prompt": ["x"]}"#, r#""prompt" is a list: a string is expected"#),
            (
                r#"{"query": "q", "pos": ["p"], "type": "only-1neg"}"#,
                r#""type" is "only-1neg", which is not known: perhaps "only_1neg""#,
            ),
            (r#"{"query": "q", "pos": ["p"], "type": true}"#, r#""type" is a boolean: a string is expected"#),
        ] {
            let message = parse_row(line.as_bytes()).unwrap_err();
            assert!(message.contains(reason), "{line}\n  gives    {message}\n  expected {reason}");
        }
    }
}
