//! A training row, a text alone, and the rules for their fields that hold in every format.

use std::borrow::Cow;

use super::keys::NearKey;
use super::kind::is_symmetric;

/// One training example.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The query, without [`prompt`](Self::prompt).
    pub query: String,
    /// At least one positive. None is blank.
    pub pos: Vec<String>,
    /// Negatives. None is blank.
    pub neg: Vec<String>,
    /// Teacher scores of the positives, one each. They are finite.
    pub pos_scores: Option<Vec<f32>>,
    /// Teacher scores of the negatives, one each. They are finite.
    pub neg_scores: Option<Vec<f32>>,
    /// Text directly before the query.
    pub prompt: Option<String>,
    /// The row's `type`.
    pub kind: Option<String>,
    /// The row's own name of its language (`lang` or `language`).
    pub language: Option<String>,
    /// Ignored keys of the row that are nearly one of ours.
    pub near_keys: Vec<NearKey>,
}

/// One text alone, which is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) text: String,
    /// Its own name of its language (`lang` or `language`).
    pub(crate) language: Option<String>,
}

/// The longest text that is taken for the name of a language.
const MAX_LANGUAGE_BYTES: usize = 35;

/// The trimmed name of a language, if it can be one. RFC 5646 asks for room for 35 characters.
pub(super) fn language_name(name: &str) -> Option<String> {
    let name = name.trim();
    (!name.is_empty() && name.len() <= MAX_LANGUAGE_BYTES).then(|| name.to_owned())
}

pub(super) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

pub(super) fn no_text(field: &str) -> String {
    format!("\"{field}\" has no text")
}

pub(super) fn wrong_count(field: &str, found: usize, scored: &str, expected: usize) -> String {
    format!("\"{field}\" has {found} numbers, but \"{scored}\" has {expected} texts")
}

pub(super) fn not_finite(field: &str, number: f64) -> String {
    let why = if number.is_finite() { "too large for a 32-bit float" } else { "a finite number is expected" };
    format!("\"{field}\" is {number}: {why}")
}

impl Row {
    /// The query as the encoder sees it: the prompt, if any, and the query.
    pub fn query_text(&self) -> Cow<'_, str> {
        match &self.prompt {
            Some(prompt) => Cow::Owned(format!("{prompt}{}", self.query)),
            None => Cow::Borrowed(&self.query),
        }
    }

    /// Whether it is of a symmetric type, whose passages take the query's prefix.
    pub fn is_symmetric(&self) -> bool {
        self.kind.as_deref().is_some_and(is_symmetric)
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse_row;

    #[test]
    fn the_prompt_stands_directly_before_the_query() {
        let row = parse_row(br#"{"query": "who?", "pos": ["me"], "prompt": "Answer: "}"#).unwrap();
        assert_eq!(row.query_text(), "Answer: who?");
    }
}
