//! A text's words.
//!
//! [`Splitting::English`] splits every text as datatrove does by default: as spaCy's blank English pipeline.
//! [`Splitting::ByScript`] does the same and then takes each character of a script without spaces for a word, because
//! nothing here knows Chinese, Japanese, Thai and other words.

mod affixes;
mod cases;
mod url;
mod word;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::characters::{ACTIVE, PUNCTUATION, SENTENCE_END, SPACE, UNSPACED, classes, is};
use cases::Cases;
use url::Addresses;
pub use word::Word;

/// How texts are split into words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Splitting {
    /// As spaCy splits English, and each character of a script without spaces is a word.
    #[default]
    ByScript,
    /// As spaCy splits English, whatever the language is.
    English,
}

/// What splits words; it is made once.
static SPLITTER: LazyLock<Splitter> = LazyLock::new(Splitter::new);

#[derive(Debug)]
struct Splitter {
    cases: Cases,
    addresses: Addresses,
}

/// Puts the words of `text` into `words`, in order. `suffixes` is scratch.
pub fn split(text: &str, splitting: Splitting, words: &mut Vec<Word>, suffixes: &mut Vec<Word>) {
    words.clear();
    SPLITTER.pieces(text, words, suffixes);
    words.retain(|word| !starts_with_space(word.of(text)));
    if splitting == Splitting::ByScript {
        cut_scripts(text, words, suffixes);
    }
}

/// The number of sentences of `line`, at least one. `words` and `suffixes` are scratch.
///
/// Source: spaCy's sentencizer. A sentence begins at the first word that is no punctuation after a mark that ends one.
pub fn num_sentences(line: &str, splitting: Splitting, words: &mut Vec<Word>, suffixes: &mut Vec<Word>) -> usize {
    words.clear();
    SPLITTER.pieces(line, words, suffixes);
    if splitting == Splitting::ByScript {
        cut_scripts(line, words, suffixes);
    }
    let (mut num, mut has_ended) = (1, false);
    for word in words.iter().map(|word| word.of(line)) {
        let mut chars = word.chars();
        let is_end = chars.next().is_some_and(|c| is(c, SENTENCE_END)) && chars.next().is_none();
        if has_ended && !is_end && !word.chars().all(|c| is(c, PUNCTUATION)) {
            num += 1;
            has_ended = false;
        } else if is_end {
            has_ended = true;
        }
    }
    num
}

fn starts_with_space(piece: &str) -> bool {
    piece.chars().next().is_none_or(|c| is(c, SPACE))
}

/// Cuts words with characters of scripts without spaces: each with the marks that follow it is a word.
fn cut_scripts(text: &str, words: &mut Vec<Word>, whole: &mut Vec<Word>) {
    let has_such = |word: &Word| word.of(text).chars().any(|c| is(c, UNSPACED));
    let Some(first) = words.iter().position(has_such) else { return };
    whole.clear();
    whole.extend(words.drain(first..));
    for word in whole.iter() {
        let mut start = word.start;
        let mut is_alone = false;
        for (at, c) in word.of(text).char_indices() {
            let at = word.start + at;
            let is_mark = unicode_normalization::char::is_combining_mark(c);
            let begins = !is_mark && (is_alone || is(c, UNSPACED));
            if begins && at > start {
                words.push(Word { start, end: at });
                start = at;
            }
            is_alone = if is_mark { is_alone } else { is(c, UNSPACED) };
        }
        words.push(Word { start, end: word.end });
    }
}

impl Splitter {
    fn new() -> Self {
        let without = Self { cases: Cases::empty(), addresses: Addresses::new() };
        let mut cases = Cases::new();
        cases.add_sequences(|text, pieces| {
            without.affixes(text, Word { start: 0, end: text.len() }, None, pieces, &mut Vec::new());
        });
        Self { cases, addresses: Addresses::new() }
    }

    /// The pieces of a text: words, and white space but for single blanks.
    fn pieces(&self, text: &str, words: &mut Vec<Word>, suffixes: &mut Vec<Word>) {
        let mut start = 0;
        let mut chars = text.char_indices().peekable();
        let Some(mut in_space) = chars.peek().map(|(_, c)| is(*c, SPACE)) else { return };
        let mut seen = 0;
        for (at, c) in chars {
            let found = classes(c);
            let is_space = found & SPACE != 0;
            if is_space != in_space {
                self.chunk(text, Word { start, end: at }, in_space, seen, words, suffixes);
                start = at + usize::from(c == ' ');
                in_space = is_space;
                seen = 0;
            }
            seen |= found;
        }
        self.chunk(text, Word { start, end: text.len() }, in_space, seen, words, suffixes);
        self.cases.join(text, words);
    }

    /// What stands between white space, or white space. `seen` are the classes of its characters.
    fn chunk(
        &self,
        text: &str,
        chunk: Word,
        is_space: bool,
        seen: u16,
        words: &mut Vec<Word>,
        suffixes: &mut Vec<Word>,
    ) {
        if chunk.start >= chunk.end {
        } else if is_space {
            words.push(chunk);
        } else if let Some(case) = self.cases.of(chunk.of(text)) {
            case.push(chunk.start, words);
        } else if seen & ACTIVE == 0 {
            words.push(chunk);
        } else {
            self.affixes(text, chunk, Some(&self.cases), words, suffixes);
        }
    }

    /// Splits a chunk by what stands before, after and within it. Without `cases` none is kept together.
    fn affixes(&self, text: &str, chunk: Word, cases: Option<&Cases>, words: &mut Vec<Word>, suffixes: &mut Vec<Word>) {
        let is_case = |piece: &str| cases.is_some_and(|cases| cases.of(piece).is_some());
        let Word { mut start, mut end } = chunk;
        suffixes.clear();
        while start < end {
            let rest = &text[start..end];
            if is_case(rest) {
                break;
            }
            let prefix = affixes::prefix_len(rest);
            if prefix > 0 && is_case(&rest[prefix..]) {
                words.push(Word { start, end: start + prefix });
                start += prefix;
                break;
            }
            let suffix = affixes::suffix_len(&rest[prefix..]);
            if suffix > 0 && is_case(&rest[..rest.len() - suffix]) {
                suffixes.push(Word { start: end - suffix, end });
                end -= suffix;
                break;
            }
            if prefix + suffix == 0 {
                break;
            }
            if prefix > 0 {
                words.push(Word { start, end: start + prefix });
                start += prefix;
            }
            if suffix > 0 {
                suffixes.push(Word { start: end - suffix, end });
                end -= suffix;
            }
        }
        if start < end {
            let rest = &text[start..end];
            match cases.and_then(|cases| cases.of(rest)) {
                Some(case) => case.push(start, words),
                None if self.addresses.has(rest) => words.push(Word { start, end }),
                None => {
                    let mut from = start;
                    affixes::for_each_infix(rest, |infix_start, infix_end| {
                        if infix_start == 0 {
                            return;
                        }
                        let infix = Word { start: start + infix_start, end: start + infix_end };
                        if from < infix.start {
                            words.push(Word { start: from, end: infix.start });
                        }
                        words.push(infix);
                        from = infix.end;
                    });
                    if from < end {
                        words.push(Word { start: from, end });
                    }
                }
            }
        }
        words.extend(suffixes.iter().rev());
    }
}
