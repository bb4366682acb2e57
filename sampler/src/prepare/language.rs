//! A row's language: what the row says, or else what its text looks like.

use crate::store::UNKNOWN_LANGUAGE;

/// The number of characters examined. More hardly improve the result.
const MAX_CHARACTERS: usize = 100;

/// Texts with fewer bytes are not examined: their language is seldom certain, and examining them costs as much.
const MIN_BYTES: usize = 48;

/// The name of a row's language: its `own`, or the ISO 639-3 code of what is detected in `text`, or `und`.
pub(super) fn language_of(own: Option<String>, text: &str) -> String {
    own.unwrap_or_else(|| detect_language(text).unwrap_or(UNKNOWN_LANGUAGE).to_owned())
}

/// The ISO 639-3 code of the language that `text` begins in; None where that is not certain, as of short texts.
pub fn detect_language(text: &str) -> Option<&'static str> {
    if text.len() < MIN_BYTES {
        return None;
    }
    let end = text.char_indices().nth(MAX_CHARACTERS).map_or(text.len(), |(end, _)| end);
    let detected = whatlang::detect(&text[..end]).filter(whatlang::Info::is_reliable);
    detected.map(|info| info.lang().code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_knows_best_and_doubt_is_said() {
        let russian = "Все люди рождаются свободными и равными в своём достоинстве и правах. ".repeat(20);
        for (language, text, expected) in [
            (None, russian.as_str(), "rus"),
            (None, "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。", "jpn"),
            (Some("be"), russian.as_str(), "be"),
            (None, "42 ".repeat(40).as_str(), "und"),
            (None, "Все люди", "und"),
        ] {
            assert_eq!(language_of(language.map(str::to_owned), text), expected, "{text}");
        }
    }
}
