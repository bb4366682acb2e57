//! The JSON object on a line, or why there is none, in words that point to what wrote it.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Deserializer;
use serde_json::error::Category;

/// The number of a line's characters that a message shows.
const SHOWN_CHARACTERS: usize = 40;

/// What Python's `json` writes for non-finite floats; JSON has no such words.
const NOT_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses the JSON object on one line.
///
/// # Errors
/// The line is no object, or not the expected one. The error is the reason alone; the caller adds file and line.
pub fn json_object<T: DeserializeOwned>(line: &str) -> Result<T, String> {
    match line.trim_start().chars().next() {
        // serde would take a list's values for those of an object, in their order.
        Some('{') => serde_json::from_str(line).map_err(|e| reason(line, &e)),
        Some('[') => Err(format!("not a JSON object but a list: {}", shown(line))),
        _ => Err(format!("not a JSON object: {}", shown(line))),
    }
}

/// Keys and values of the object on `line`, in their order and as they are written, so that what is not looked at stays
/// as it is. Empty where the line is no such object.
pub fn json_fields(line: &str) -> Vec<(String, &str)> {
    scan(line).unwrap_or_default()
}

fn scan(line: &str) -> Option<Vec<(String, &str)>> {
    let mut fields = Vec::new();
    let mut rest = line.trim_start().strip_prefix('{')?.trim_start();
    while !rest.starts_with('}') {
        let mut keys = Deserializer::from_str(rest).into_iter::<String>();
        let key = keys.next()?.ok()?;
        rest = rest[keys.byte_offset()..].trim_start().strip_prefix(':')?.trim_start();
        let mut values = Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        values.next()?.ok()?;
        let value = &rest[..values.byte_offset()];
        rest = rest[values.byte_offset()..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        fields.push((key, value));
    }
    Some(fields)
}

/// What serde_json's `error` on the line means. Its line number is left out because it is always 1.
fn reason(line: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    // The column counts bytes, from 1; it is 0 only for an empty line.
    let at = error.column().saturating_sub(1).min(line.len());
    let said = format!("not valid JSON: {reason} (column {})", error.column());
    match error.classify() {
        Category::Data => format!("not the expected JSON object: {reason} (column {})", error.column()),
        Category::Eof => match unfinished(line) {
            Some(Unfinished::String) => format!(
                "{said}: the line ends inside a string, so it was cut off, or a line break in a text is not written \\n"
            ),
            _ => {
                format!("{said}: the line ends before the object does, so it was cut off, or goes on in the next line")
            }
        },
        // serde_json's words for "\ud83d" alone, and for its other half.
        Category::Syntax if reason.contains("of hex escape") || reason.contains("surrogate") => format!(
            "{said}: half of a pair of \\u escapes, which stand for one character such as an emoji: a text was cut inside it; \
             cut texts before they are written as JSON"
        ),
        Category::Syntax | Category::Io => match hint(line, at) {
            Some(hint) => format!("{said}: {hint}"),
            None => said,
        },
    }
}

/// What at or before byte `at` of the line explains why the parser stopped there.
fn hint(line: &str, at: usize) -> Option<String> {
    // The parser may have read a sign or a letter before it stopped.
    let from = |back: usize| line.get(at.checked_sub(back)?..);
    let not_number =
        (0..3).rev().filter_map(from).find_map(|rest| NOT_NUMBERS.into_iter().find(|word| rest.starts_with(word)));
    if let Some(word) = not_number {
        return Some(format!("{word} is not JSON: a finite number is expected"));
    }
    let rest = from(0)?;
    if rest.starts_with('\u{feff}') {
        return Some("a byte order mark: two files were put together, the first without a line end".into());
    }
    if rest.starts_with('{') && serde_json::from_str::<IgnoredAny>(&line[..at]).is_ok() {
        return Some("a second object begins there: one object a line is expected".into());
    }
    if rest.starts_with(',') && serde_json::from_str::<IgnoredAny>(&line[..at]).is_ok() {
        return Some(
            "a comma, as between the objects of a list: one object a line is expected, and nothing else".into(),
        );
    }
    let start = line.trim_start().strip_prefix('{')?.trim_start();
    start.starts_with('\'').then(|| "single quotes are Python's, not JSON's: write rows with json.dumps".into())
}

/// The beginning of a line, for a message.
pub(crate) fn shown(line: &str) -> String {
    match line.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &line[..end]),
        None => format!("{line:?}"),
    }
}

/// What a line breaks off in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// A string.
    String,
    /// An object or a list.
    Object,
}

/// What `line` breaks off in; None if it is complete, or wrong earlier.
pub(super) fn unfinished(line: &str) -> Option<Unfinished> {
    let error = serde_json::from_str::<IgnoredAny>(line).err().filter(serde_json::Error::is_eof)?;
    Some(if error.to_string().contains("parsing a string") { Unfinished::String } else { Unfinished::Object })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn reasons_lead_to_what_wrote_the_line() {
        for (line, expected) in [
            (r#"["a", "b"]"#, r#"not a JSON object but a list: "[\"a\", \"b\"]""#),
            ("query,pos", r#"not a JSON object: "query,pos""#),
            (r#"{"query": "q"}{"query": "r"}"#, "trailing characters (column 15): a second object begins there"),
            ("{\"query\": \"q\"}\u{feff}{\"query\": \"r\"}", "(column 15): a byte order mark: two files"),
            (r#"{"query": "q"},"#, "(column 15): a comma, as between the objects of a list"),
            (r#"{"query": 1} x"#, "not valid JSON: trailing characters (column 14)"),
            (r#"{"pos_scores": [1, NaN]}"#, "(column 20): NaN is not JSON: a finite number is expected"),
            (r#"{"pos_scores": [Infinity]}"#, "Infinity is not JSON"),
            (r#"{"pos_scores": [-Infinity]}"#, "-Infinity is not JSON"),
            ("{'query': 'q'}", "json.dumps"),
            (
                r#"{"query": "so \ud83d"}"#,
                ": half of a pair of \\u escapes, which stand for one character such as an emoji",
            ),
            (r#"{"query": "so \ud83d\n"}"#, ": half of a pair of"),
            (r#"{"query": "\ude00"}"#, ": half of a pair of"),
            (r#"{"query": "q"#, "(column 12): the line ends inside a string"),
            (r#"{"query": "q","#, "the line ends before the object does"),
        ] {
            let reason = json_object::<Map<String, Value>>(line).unwrap_err();
            assert!(reason.contains(expected), "{line}\n  gives    {reason}\n  expected {expected}");
        }
    }

    #[test]
    fn fields_are_given_as_they_are_written() {
        let line = r#" { "a" : 123456789012345678901, "b\"":{"c": [1, "}"]} ,"d":1.10, "e": "x" }"#;
        let expected = [("a", "123456789012345678901"), ("b\"", r#"{"c": [1, "}"]}"#), ("d", "1.10"), ("e", r#""x""#)];
        assert_eq!(json_fields(line), expected.map(|(key, value)| (key.to_owned(), value)));
        assert!(json_fields("{}").is_empty() && json_fields("[1]").is_empty());
    }
}
