//! How long texts are: in characters, or in tokens of a tokenizer.

use std::path::Path;

use tercet_sampler::TextTokenizer;

use super::recipe::Lengths;
use crate::error::CurateError;

/// Characters of documents and paragraphs.
const CHARACTERS: [[usize; 2]; 2] = [[8_000, 128_000], [400, 2_000]];
/// Tokens of documents and paragraphs.
const TOKENS: [[usize; 2]; 2] = [[2_000, 32_000], [100, 500]];

/// What ends a sentence.
const ENDS: [char; 11] = ['.', '!', '?', '。', '！', '？', '؟', '।', '۔', '…', '\n'];

/// The unit, and the lengths asked for.
pub struct Measure {
    tokenizer: Option<TextTokenizer>,
    /// A document's bounds.
    pub document: [usize; 2],
    /// A paragraph's bounds.
    pub paragraph: [usize; 2],
}

impl Measure {
    /// The measure that the recipe asks for, with the tokenizer below `base`.
    ///
    /// # Errors
    /// The tokenizer cannot be read.
    pub fn new(lengths: &Lengths, base: &Path) -> Result<Self, CurateError> {
        let wrong = |error| CurateError::Usage(format!("lengths.tokenizer: {error}"));
        let load = |path: &Path| TextTokenizer::load(path).map_err(wrong);
        let tokenizer = lengths.tokenizer.as_ref().map(|path| load(&base.join(path))).transpose()?;
        let [document, paragraph] = if tokenizer.is_some() { TOKENS } else { CHARACTERS };
        let (document, paragraph) = (lengths.document.unwrap_or(document), lengths.paragraph.unwrap_or(paragraph));
        Ok(Self { tokenizer, document, paragraph })
    }

    /// The unit, in words.
    pub fn unit(&self) -> &'static str {
        if self.tokenizer.is_some() { "tokens" } else { "characters" }
    }

    /// The length of `text`.
    ///
    /// # Errors
    /// The tokenizer has no token for a part of it. The error is the reason alone.
    pub fn len(&self, text: &str) -> Result<usize, String> {
        match &self.tokenizer {
            Some(tokenizer) => Ok(tokenizer.encode_content(text).map_err(|error| error.to_string())?.len()),
            None => Ok(text.chars().count()),
        }
    }

    /// The beginning of `text` that is at most `max` long: up to the end of a sentence if one is in its second half, or
    /// else of a word, or else of a character.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    pub fn cut<'a>(&self, text: &'a str, max: usize) -> Result<&'a str, String> {
        if self.len(text)? <= max {
            return Ok(text);
        }
        // Lengths grow with the text, if not at each character.
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let (mut fits, mut too_long) = (0, places.len());
        while too_long - fits > 1 {
            let middle = (fits + too_long) / 2;
            match self.len(&text[..places[middle]])? <= max {
                true => fits = middle,
                false => too_long = middle,
            }
        }
        let longest = &text[..places[fits]];
        let half = places[fits / 2];
        let sentence = longest.char_indices().rev().find(|(at, c)| *at >= half && self.ends_sentence(longest, *at, *c));
        let word = || longest.char_indices().rev().find(|(at, c)| *at >= half && c.is_whitespace());
        Ok(match sentence.map(|(at, c)| at + c.len_utf8()).or_else(|| word().map(|(at, _)| at)) {
            Some(end) => longest[..end].trim_end(),
            None => longest,
        })
    }

    /// Whether the character at `at` ends a sentence of `text`: a full stop does so before a blank alone.
    fn ends_sentence(&self, text: &str, at: usize, c: char) -> bool {
        let next = text[at + c.len_utf8()..].chars().next();
        ENDS.contains(&c) && (c != '.' || next.is_some_and(char::is_whitespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_the_end_of_a_sentence_a_word_or_a_character() {
        let measure = Measure::new(&Lengths::default(), Path::new("")).unwrap();
        let cut = |text: &'static str, max| measure.cut(text, max).unwrap();
        assert_eq!(cut("One is 1.5. Two is two. Three", 26), "One is 1.5. Two is two.");
        assert_eq!(cut("one two three four five", 12), "one two");
        assert_eq!(cut("甲乙丙丁戊己庚辛", 3), "甲乙丙");
        assert_eq!(cut("甲乙。丙丁戊", 5), "甲乙。");
        assert_eq!(cut("short", 5), "short");
    }
}
