//! Normalises a text to a string, without the alignments with the original that the `tokenizers` crate keeps.

use tokenizers::normalizers::Precompiled;
use unicode_segmentation::UnicodeSegmentation;

/// One step of a normalizer.
pub(super) enum Step {
    /// SentencePiece's table of replacements.
    Charsmap(Charsmap),
    /// Replaces two or more spaces by this.
    CollapseSpaces(String),
    /// Removes white space at the ends.
    Strip {
        /// Whether at the beginning.
        left: bool,
        /// Whether at the end.
        right: bool,
    },
}

impl Step {
    /// Appends the normalised `text` to `normalized`.
    pub(super) fn apply(&self, text: &str, normalized: &mut String) {
        match self {
            Self::Charsmap(charsmap) => charsmap.apply(text, normalized),
            Self::CollapseSpaces(to) => collapse_spaces(text, to, normalized),
            Self::Strip { left, right } => {
                let text = if *left { text.trim_start() } else { text };
                normalized.push_str(if *right { text.trim_end() } else { text });
            }
        }
    }
}

fn collapse_spaces(text: &str, to: &str, normalized: &mut String) {
    let mut rest = text;
    while let Some(run) = rest.find("  ") {
        let (before, spaces) = rest.split_at(run);
        normalized.push_str(before);
        normalized.push_str(to);
        rest = spaces.trim_start_matches(' ');
    }
    normalized.push_str(rest);
}

/// SentencePiece's precompiled table of replacements.
///
/// Each grapheme of fewer than 6 bytes is looked up as a whole, and every other one character by character. Finding
/// graphemes is slow, and most characters are graphemes of their own, so the characters that may share one with a
/// neighbour are found once.
pub(super) struct Charsmap {
    precompiled: Precompiled,
    /// For each character of the basic plane: [`MAY_JOIN`], and 1 + the index of its replacement if it has one.
    characters: Vec<u16>,
    replacements: Vec<Box<str>>,
}

/// The character may share a grapheme with a neighbour.
const MAY_JOIN: u16 = 1 << 15;

/// Characters of the basic plane.
const NUM_CHARACTERS: u32 = 1 << 16;

impl Charsmap {
    /// None if there are more replacements than fit.
    pub(super) fn new(precompiled: Precompiled) -> Option<Self> {
        let mut replacements = Vec::new();
        let mut characters = Vec::with_capacity(NUM_CHARACTERS as usize);
        let mut buffer = [0; 4];
        for code in 0..NUM_CHARACTERS {
            let Some(character) = char::from_u32(code) else {
                characters.push(0);
                continue;
            };
            let mut entry = if may_join(character) { MAY_JOIN } else { 0 };
            if let Some(replacement) = precompiled.transform(character.encode_utf8(&mut buffer)) {
                replacements.push(replacement.into());
                entry |= u16::try_from(replacements.len()).ok().filter(|number| *number < MAY_JOIN)?;
            }
            characters.push(entry);
        }
        Some(Self { precompiled, characters, replacements })
    }

    /// Cuts the text where graphemes certainly end, which is between two characters that join no other.
    fn apply(&self, text: &str, normalized: &mut String) {
        let mut start = 0;
        let mut previous_may_join = false;
        for (i, character) in text.char_indices() {
            let may_join = self.characters.get(character as usize).is_none_or(|entry| entry & MAY_JOIN != 0);
            if !may_join && !previous_may_join && i > start {
                self.push_cluster(&text[start..i], normalized);
                start = i;
            }
            previous_may_join = may_join;
        }
        self.push_cluster(&text[start..], normalized);
    }

    /// Normalises one or more whole graphemes.
    fn push_cluster(&self, cluster: &str, normalized: &mut String) {
        let mut characters = cluster.chars();
        let first = characters.next();
        let is_one = characters.as_str().is_empty();
        // Graphemes of several such characters have at least 6 bytes.
        let is_long = || cluster.chars().all(|character| character.len_utf8() >= 3);
        if is_one || is_long() {
            first.into_iter().chain(characters).for_each(|character| self.push_character(character, normalized));
        } else {
            normalized.push_str(&self.precompiled.normalize_string(cluster));
        }
    }

    fn push_character(&self, character: char, normalized: &mut String) {
        match self.characters.get(character as usize).map(|entry| entry & !MAY_JOIN) {
            Some(0) => normalized.push(character),
            Some(number) => normalized.push_str(&self.replacements[number as usize - 1]),
            None => {
                let mut buffer = [0; 4];
                let text: &str = character.encode_utf8(&mut buffer);
                normalized.push_str(self.precompiled.transform(text).unwrap_or(text));
            }
        }
    }
}

/// Whether the character can share a grapheme with any other (UAX 29). Except for line ends, every such character
/// (marks, joiners, prepended characters, regional indicators, Hangul jamo) joins a second one of itself. Anything else
/// that joins (conjuncts, emoji sequences, syllables with jamo) has such a character between or at an end.
fn may_join(character: char) -> bool {
    let twice = String::from_iter([character, character]);
    matches!(character, '\r' | '\n') || twice.graphemes(true).count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_join_no_other_are_graphemes_of_their_own_beside_any() {
        let is_one = |first: char, second: char| String::from_iter([first, second]).graphemes(true).count() == 1;
        let neighbours = [
            'a', '\r', '\n', '\u{301}', '\u{200d}', '\u{903}', '\u{600}', '\u{1100}', '\u{1161}', '\u{11a8}', '가',
            '각', '\u{94d}', '\u{915}', '\u{2764}',
        ];
        for character in ('\0'..='\u{ffff}').filter(|character| !may_join(*character)) {
            for other in neighbours.into_iter().filter(|other| !may_join(*other)) {
                assert!(!is_one(character, other) && !is_one(other, character), "{character:?} {other:?}");
            }
        }
        for character in
            ['\u{301}', '\u{200d}', '\u{903}', '\u{600}', '\u{1100}', '\u{1161}', '\u{11a8}', '\u{94d}', '\r', '\n']
        {
            assert!(may_join(character), "{character:?}");
        }
    }
}
