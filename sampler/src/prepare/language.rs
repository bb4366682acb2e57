//! A row's language: what the row says, or else what its text looks like.

use crate::rows::Row;
use crate::store::UNKNOWN_LANGUAGE;

/// The number of characters examined. More hardly improve the result.
const MAX_CHARACTERS: usize = 100;

/// Texts with fewer bytes are not examined: their language is seldom certain, and examining them costs as much.
const MIN_BYTES: usize = 48;

/// The name of the row's language: the row's own, or the ISO 639-3 code of the detected one, or `und`.
pub(super) fn language_of(row: &mut Row) -> String {
    row.language.take().unwrap_or_else(|| detect(&row.pos[0]))
}

/// Detects it from the first positive, because queries are often too short.
fn detect(text: &str) -> String {
    if text.len() < MIN_BYTES {
        return UNKNOWN_LANGUAGE.to_owned();
    }
    let end = text.char_indices().nth(MAX_CHARACTERS).map_or(text.len(), |(end, _)| end);
    let detected = whatlang::detect(&text[..end]).filter(whatlang::Info::is_reliable);
    detected.map_or(UNKNOWN_LANGUAGE, |info| info.lang().code()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_knows_best_and_doubt_is_said() {
        let row = |language: Option<&str>, text: &str| Row {
            query: "q".into(),
            pos: vec![text.into()],
            neg: vec![],
            pos_scores: None,
            neg_scores: None,
            prompt: None,
            kind: None,
            language: language.map(str::to_owned),
            near_keys: vec![],
        };
        let russian = "Все люди рождаются свободными и равными в своём достоинстве и правах. ".repeat(20);
        for (language, text, expected) in [
            (None, russian.as_str(), "rus"),
            (None, "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。", "jpn"),
            (Some("be"), russian.as_str(), "be"),
            (None, "42 ".repeat(40).as_str(), "und"),
            (None, "Все люди", "und"),
        ] {
            assert_eq!(language_of(&mut row(language, text)), expected, "{text}");
        }
    }
}
