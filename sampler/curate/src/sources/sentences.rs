//! The first sentence of a text.

use unicode_segmentation::UnicodeSegmentation;

/// Characters that a first sentence has at least if it ends with a full stop, which may be an abbreviation's.
const MIN_CHARS: usize = 12;

/// A text's first sentence and the rest of it; None if it has no second sentence.
///
/// Sentences end as Unicode's UAX #29 says: after `.`, `?`, `!` and the marks of other scripts (`。`, `？`, `！`, `।`,
/// `؟`, …) and at a line's end. A full stop within a text's first 12 characters ends none, since "Dr." and "U.S." begin
/// texts too. Scripts without marks, such as Thai, have sentences of whole lines.
pub(super) fn split_first(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    // Only as much is looked at as the first sentence needs.
    let ends = text.split_sentence_bound_indices().map(|(start, sentence)| start + sentence.len());
    ends.map(|end| (text[..end].trim_end(), &text[end..]))
        .find(|(first, _)| !first.ends_with('.') || first.chars().nth(MIN_CHARS - 1).is_some())
        .filter(|(_, rest)| !rest.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_sentence_ends_where_its_script_says() {
        for (text, first) in [
            ("A cat sat down. It slept.", "A cat sat down."),
            ("What? Nothing.", "What?"),
            ("Dr. Who is a doctor. He travels.", "Dr. Who is a doctor."),
            ("The price of 3.5 euros, e.g. here, is low. So be it.", "The price of 3.5 euros, e.g. here, is low."),
            ("猫が好きです。犬も好きです。", "猫が好きです。"),
            ("真的吗？是的。", "真的吗？"),
            ("राम घर गया। वह सो गया।", "राम घर गया।"),
            ("هل هذا صحيح؟ نعم.", "هل هذا صحيح؟"),
            ("  A title\n\nAnd a text without an end", "A title"),
            ("He said “Stop it right now!” Then he left.", "He said “Stop it right now!”"),
        ] {
            let (found, rest) = split_first(text).unwrap();
            assert_eq!(found, first);
            assert!(text.trim().ends_with(rest) && !rest.trim().is_empty());
        }
        for text in ["", " \n ", "Only one sentence is here.", "no end", "A. B."] {
            assert_eq!(split_first(text), None, "{text:?}");
        }
    }
}
