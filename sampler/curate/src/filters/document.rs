//! A text that rules look at. What several rules need is computed once, when the first of them asks.

use super::characters::{LETTER, SPACE, SYMBOL, UNSPACED, classes, is};
use super::repeats::Repeats;
use super::words::{Splitting, Word, split};

/// What documents need, kept between them; each thread has its own.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The document's words.
    pub words: Vec<Word>,
    /// For splitting other texts.
    pub other_words: Vec<Word>,
    /// For splitting.
    pub suffixes: Vec<Word>,
    /// For counting.
    pub repeats: Repeats,
}

/// A text.
#[derive(Debug)]
pub struct Document<'a> {
    /// The text.
    pub text: &'a str,
    /// How it is split into words.
    pub splitting: Splitting,
    scratch: &'a mut Scratch,
    has_words: bool,
    has_n_grams: bool,
    num_chars: Option<usize>,
    counts: Option<WordCounts>,
}

/// Counts over a document's words, punctuation being words too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WordCounts {
    /// All words.
    pub all: usize,
    /// Words that are not punctuation alone.
    pub proper: usize,
    /// The characters of these.
    pub proper_chars: usize,
    /// Words with a letter.
    pub with_letter: usize,
    /// Words of scripts without spaces.
    pub unspaced: usize,
}

impl<'a> Document<'a> {
    /// A text to look at.
    pub fn new(text: &'a str, splitting: Splitting, scratch: &'a mut Scratch) -> Self {
        Self { text, splitting, scratch, has_words: false, has_n_grams: false, num_chars: None, counts: None }
    }

    /// What it lent.
    pub fn into_scratch(self) -> &'a mut Scratch {
        self.scratch
    }

    /// The number of its characters.
    pub fn num_chars(&mut self) -> usize {
        *self.num_chars.get_or_insert_with(|| super::repeats::num_chars(self.text.as_bytes()))
    }

    /// Its words.
    pub fn words(&mut self) -> &[Word] {
        if !self.has_words {
            split(self.text, self.splitting, &mut self.scratch.words, &mut self.scratch.suffixes);
            self.has_words = true;
        }
        &self.scratch.words
    }

    /// Counts over its words.
    pub fn word_counts(&mut self) -> WordCounts {
        if let Some(counts) = self.counts {
            return counts;
        }
        let text = self.text;
        let mut counts = WordCounts::default();
        for word in self.words() {
            let (mut chars, mut any, mut all) = (0, 0, u16::MAX);
            for c in word.of(text).chars() {
                chars += 1;
                any |= classes(c);
                all &= classes(c);
            }
            counts.all += 1;
            counts.with_letter += usize::from(any & LETTER != 0);
            counts.unspaced += usize::from(any & UNSPACED != 0);
            if all & SYMBOL == 0 {
                counts.proper += 1;
                counts.proper_chars += chars;
            }
        }
        self.counts = Some(counts);
        counts
    }

    /// What counts its repeated parts.
    pub fn repeats(&mut self) -> &mut Repeats {
        &mut self.scratch.repeats
    }

    /// What counts its n-grams.
    pub fn n_grams(&mut self) -> &mut Repeats {
        if !self.has_n_grams {
            self.words();
            self.scratch.repeats.take_words(self.text, &self.scratch.words);
            self.has_n_grams = true;
        }
        &mut self.scratch.repeats
    }

    /// The number of sentences of another text, such as a line, at least one.
    pub fn num_sentences(&mut self, line: &str) -> usize {
        let Scratch { other_words, suffixes, .. } = &mut *self.scratch;
        super::words::num_sentences(line, self.splitting, other_words, suffixes)
    }
}

/// The lines of a text as Python's `str.splitlines` has them.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let is_end = |c| matches!(c, '\n'..='\r' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let Some(end) = rest.find(is_end) else { return Some(std::mem::take(&mut rest)) };
        let line = &rest[..end];
        let end_len =
            if rest[end..].starts_with("\r\n") { 2 } else { rest[end..].chars().next().map_or(0, char::len_utf8) };
        rest = &rest[end + end_len..];
        Some(line)
    })
}

/// The parts of a text between runs of at least `least` line ends; there is one more part than there are runs.
pub fn parts(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let mut from = 0;
        while let Some(at) = memchr_line_end(&whole.as_bytes()[from..]) {
            let start = from + at;
            let run = whole[start..].bytes().take_while(|byte| *byte == b'\n').count();
            if run >= least {
                rest = Some(&whole[start + run..]);
                return Some(&whole[..start]);
            }
            from = start + run;
        }
        rest = None;
        Some(whole)
    })
}

fn memchr_line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

/// The text without white space at its ends, as Python's `str.strip` has it.
pub fn strip(text: &str) -> &str {
    text.trim_matches(|c| is(c, SPACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_as_python_cuts_them() {
        assert_eq!(lines("a\r\nb\u{85}c\n\nd\u{b}").collect::<Vec<_>>(), ["a", "b", "c", "", "d"]);
        assert_eq!(parts("a\nb\n\nc\n\n\n", 2).collect::<Vec<_>>(), ["a\nb", "c", ""]);
        assert_eq!(parts("\n\na\nb", 1).collect::<Vec<_>>(), ["", "a", "b"]);
        assert_eq!(parts("", 1).collect::<Vec<_>>(), [""]);
        assert_eq!(strip("\u{1f} a\u{3000}"), "a");
    }
}
