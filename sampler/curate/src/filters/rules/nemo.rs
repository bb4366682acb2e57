//! NeMo Curator's rules for text that is not English: of characters and of lines.
//!
//! Source: `config/heuristic_filter_non-en.yaml` and `heuristic_filter.py` of NeMo Curator (commit 1e223f1). Its rules
//! of words and n-grams there are Gopher's with other bounds, and its list of boilerplate is English; neither is here.
//! With words by script a line may also end as sentences of other scripts do.

use std::sync::LazyLock;

use regex::Regex;

use super::rule::{Bound, Rule};
use crate::filters::characters::{SPACE, TERMINAL, is};
use crate::filters::document::{Document, strip};
use crate::filters::recipe::FiltersRecipe;
use crate::filters::repeats::{Duplicates, num_chars};
use crate::filters::words::Splitting;

static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| expression(r"https?://(?:[a-zA-Z0-9$\-_@.&+!*(),]|%[0-9a-fA-F]{2})+"));
static DIGIT: LazyLock<Regex> = LazyLock::new(|| expression(r"\p{Nd}"));

fn expression(pattern: &str) -> Regex {
    // The expressions are this file's own.
    Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

/// The rules, in NeMo's order. Bounds of repetition are the least shares of what is there once.
pub fn rules(recipe: &FiltersRecipe) -> Vec<Rule> {
    let max = |name: &str, computes, limit: Option<f64>, measure: fn(&mut Document<'_>) -> f64| {
        limit.map(|bound| Rule::new(name, computes, Bound::Max(bound), measure))
    };
    let min = |name: &str, computes, limit: Option<f64>, measure: fn(&mut Document<'_>) -> f64| {
        limit.map(|bound| Rule::new(name, computes, Bound::Min(bound), measure))
    };
    let rules = [
        max("numbers_ratio", "digits", recipe.max_number_to_text_ratio.or(0.15), |document| {
            share(document, |text| DIGIT.find_iter(text).count())
        }),
        max("urls_ratio", "characters of addresses", recipe.max_url_to_text_ratio.or(0.2), |document| {
            share(document, |text| ADDRESS.find_iter(text).map(|address| num_chars(address.as_str().as_bytes())).sum())
        }),
        max("white_space", "blanks, tabs and line ends", recipe.max_white_space_ratio.or(0.25), |document| {
            share(document, |text| text.chars().filter(|c| matches!(c, '\t' | '\n' | '\r' | '\u{8}' | ' ')).count())
        }),
        max("parentheses_ratio", "parentheses", recipe.max_parentheses_ratio.or(0.1), |document| {
            share(document, |text| text.chars().filter(|c| "{}⟨⟩[]()".contains(*c)).count())
        }),
        min("repeated_lines", "different lines", recipe.max_repeated_line_fraction.or(0.7), |document| {
            once(repeated_lines(document))
        }),
        min("repeated_paragraphs", "different paragraphs", recipe.max_repeated_paragraphs_ratio.or(0.7), |document| {
            once(repeated_paragraphs(document))
        }),
        min(
            "repeated_lines_char",
            "characters of different lines",
            recipe.max_repeated_lines_char_ratio.or(0.8),
            |document| {
                let all: usize = lines(document.text).map(|line| num_chars(line.as_bytes())).sum();
                1.0 - repeated_lines(document).chars as f64 / all as f64
            },
        ),
        min(
            "repeated_paragraphs_char",
            "characters of different paragraphs",
            recipe.max_repeated_paragraphs_char_ratio.or(0.8),
            |document| {
                let all: usize = document.text.split("\n\n").map(|part| num_chars(part.as_bytes())).sum();
                1.0 - repeated_paragraphs(document).chars as f64 / all as f64
            },
        ),
        max(
            "punctuation",
            "lines that end no sentence",
            recipe.max_num_sentences_without_endmark_ratio.or(0.85),
            lines_without_end,
        ),
    ];
    rules.into_iter().flatten().collect()
}

fn share(document: &mut Document<'_>, count: impl Fn(&str) -> usize) -> f64 {
    count(document.text) as f64 / document.num_chars() as f64
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter(|line| line.chars().any(|c| !is(c, SPACE)))
}

fn once(found: Duplicates) -> f64 {
    (found.of - found.num) as f64 / found.of as f64
}

fn repeated_lines(document: &mut Document<'_>) -> Duplicates {
    let text = document.text;
    document.repeats().duplicates(text, lines(text))
}

fn repeated_paragraphs(document: &mut Document<'_>) -> Duplicates {
    let text = document.text;
    document.repeats().duplicates(text, text.split("\n\n"))
}

fn lines_without_end(document: &mut Document<'_>) -> f64 {
    let by_script = document.splitting == Splitting::ByScript;
    let ends = |line: &str| {
        let last = strip(line).chars().next_back();
        last.is_some_and(|c| ".?!\"'".contains(c) || (by_script && is(c, TERMINAL)))
    };
    let (mut without, mut all) = (0, 0);
    for line in lines(document.text) {
        all += 1;
        without += usize::from(!ends(line));
    }
    without as f64 / f64::from(all)
}
