//! C4's rules: lines that a text loses, and texts that are dropped.
//!
//! Source: Raffel et al., 2020, arXiv 1910.10683, section 2.2, as datatrove 0.10.1 has them (`C4QualityFilter` by
//! paragraphs; the list of bad words is another filter there, and none here). With words by script a line may also end
//! as sentences of other scripts do, and words of scripts without spaces are counted by characters.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

use crate::filters::characters::{SPACE, TERMINAL, UNSPACED, is};
use crate::filters::document::{Document, lines, strip};
use crate::filters::recipe::FiltersRecipe;
use crate::filters::repeats::num_chars;
use crate::filters::words::Splitting;

/// A line that has one of these goes, but for the first, which drops the text.
const PHRASES: [&str; 8] = [
    "lorem ipsum",
    "javascript",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];
const LOREM_IPSUM: usize = 0;
const JAVASCRIPT: usize = 1;

static CITATION: LazyLock<Regex> = LazyLock::new(|| expression(r"\[\d*\]|\[edit\]|\[citation needed\]"));

fn expression(pattern: &str) -> Regex {
    // The expression is this file's own.
    Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

/// The rules, ready.
#[derive(Debug)]
pub struct C4 {
    max_word_length: Option<f64>,
    min_words_per_line: Option<f64>,
    min_num_sentences: Option<f64>,
    removes_citations: bool,
    needs_end: bool,
    filters_lorem_ipsum: bool,
    filters_javascript: bool,
    filters_curly_bracket: bool,
    filters_policy: bool,
    phrases: AhoCorasick,
}

impl C4 {
    /// The rules by a recipe.
    pub fn new(recipe: &FiltersRecipe) -> Self {
        let phrases =
            AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(PHRASES);
        Self {
            max_word_length: recipe.max_word_length.or(1000.0),
            min_words_per_line: recipe.min_words_per_line.or(3.0),
            min_num_sentences: recipe.min_num_sentences.or(5.0),
            removes_citations: recipe.remove_citations.unwrap_or(true),
            needs_end: recipe.filter_no_terminal_punct.unwrap_or(true),
            filters_lorem_ipsum: recipe.filter_lorem_ipsum.unwrap_or(true),
            filters_javascript: recipe.filter_javascript.unwrap_or(true),
            filters_curly_bracket: recipe.filter_curly_bracket.unwrap_or(true),
            filters_policy: recipe.filter_policy.unwrap_or(true),
            // Eight short phrases are no more than it can hold.
            phrases: phrases.unwrap_or_else(|error| panic!("{error}")),
        }
    }

    /// Each rule that drops a text: its name, what it computes, and its bound.
    pub fn list(&self) -> Vec<(String, String, String)> {
        let row = |name: &str, computes: &str, bound: String| (name.to_owned(), computes.to_owned(), bound);
        let mut list = Vec::new();
        if self.filters_lorem_ipsum {
            list.push(row("lorem_ipsum", "lines with \"lorem ipsum\"", "≤ 0".into()));
        }
        if self.filters_curly_bracket {
            list.push(row("curly_bracket", "lines with {", "≤ 0".into()));
        }
        if let Some(bound) = self.min_num_sentences {
            list.push(row("too_few_sentences", "sentences of the lines that stay", format!("≥ {bound}")));
        }
        list
    }

    /// The text without the lines and the citations that are to go; None if that is the text as it is.
    ///
    /// # Errors
    /// The rule that drops the text. A text of which nothing is left has too few sentences.
    pub fn clean(&self, document: &mut Document<'_>) -> Result<Option<String>, &'static str> {
        let text = document.text;
        let mut num_sentences = 0;
        let mut left = String::new();
        for line in lines(text) {
            let line = strip(line);
            if self.has_long_word(line, document.splitting) {
                continue;
            }
            let words = num_words(line, document.splitting);
            let cited;
            let line = match self.removes_citations && line.contains('[') {
                true => {
                    cited = CITATION.replace_all(line, "");
                    cited.as_ref()
                }
                false => line,
            };
            if self.needs_end && !ends_sentence(line, document.splitting)
                || self.min_words_per_line.is_some_and(|least| (words as f64) < least)
            {
                continue;
            }
            let found = self.phrases_of(line);
            if self.filters_lorem_ipsum && found[LOREM_IPSUM] {
                return Err("lorem_ipsum");
            }
            if self.filters_javascript && found[JAVASCRIPT] {
                continue;
            }
            if self.filters_curly_bracket && line.contains('{') {
                return Err("curly_bracket");
            }
            if self.filters_policy && found[JAVASCRIPT + 1..].contains(&true) {
                continue;
            }
            if self.min_num_sentences.is_some() {
                num_sentences += document.num_sentences(line);
            }
            if !left.is_empty() {
                left.push('\n');
            }
            left.push_str(line);
        }
        let left = strip(&left);
        if self.min_num_sentences.is_some_and(|least| (num_sentences as f64) < least) || left.is_empty() {
            return Err("too_few_sentences");
        }
        Ok((left != text).then(|| left.to_owned()))
    }

    fn has_long_word(&self, line: &str, splitting: Splitting) -> bool {
        let Some(most) = self.max_word_length else { return false };
        // A line has at least as many bytes as a word of it has characters.
        (line.len() as f64) > most
            && line.split(|c| is(c, SPACE)).any(|word| {
                num_chars(word.as_bytes()) as f64 > most
                    && (splitting == Splitting::English || !word.chars().any(|c| is(c, UNSPACED)))
            })
    }

    fn phrases_of(&self, line: &str) -> [bool; PHRASES.len()] {
        // The sign of kelvin is the only other character that is a small letter of these phrases when it is made small.
        let plain;
        let line = match line.contains('\u{212a}') {
            true => {
                plain = line.replace('\u{212a}', "k");
                plain.as_str()
            }
            false => line,
        };
        let mut found = [false; PHRASES.len()];
        for phrase in self.phrases.find_overlapping_iter(line) {
            found[phrase.pattern().as_usize()] = true;
        }
        found
    }
}

fn ends_sentence(line: &str, splitting: Splitting) -> bool {
    let by_script = |c| splitting == Splitting::ByScript && (is(c, TERMINAL) || "”’»」』".contains(c));
    let ends = line.chars().next_back().is_some_and(|c| ".?!\"'".contains(c) || by_script(c));
    ends && !line.ends_with("...")
}

fn num_words(line: &str, splitting: Splitting) -> usize {
    let spaced = line.split(|c| is(c, SPACE)).filter(|word| !word.is_empty()).count();
    match splitting {
        Splitting::English => spaced,
        Splitting::ByScript => spaced.max(line.chars().filter(|c| is(*c, UNSPACED)).count()),
    }
}
