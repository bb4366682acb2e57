//! FineWeb's rules.
//!
//! Source: Penedo et al., 2024, arXiv 2406.17557, section 3.6, as datatrove 0.10.1 has them (`FineWebQualityFilter`).
//! Lines are those that are not blank.

use super::rule::{Bound, Rule};
use crate::filters::characters::{SPACE, TERMINAL, is};
use crate::filters::document::Document;
use crate::filters::recipe::FiltersRecipe;
use crate::filters::repeats::num_chars;

/// The rules, in datatrove's order.
pub fn rules(recipe: &FiltersRecipe) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let Some(bound) = recipe.line_punct_thr.or(0.12) {
        let stops = recipe.stop_chars.clone();
        let passes_zero = recipe.line_punct_exclude_zero.unwrap_or(false);
        let ends = move |line: &str| {
            line.chars().next_back().is_some_and(|last| match &stops {
                Some(stops) => stops.contains(last),
                None => is(last, TERMINAL),
            })
        };
        rules.push(Rule::new("line_punct_ratio", "lines that end a sentence", Bound::Min(bound), move |document| {
            match share_of_lines(document, &ends) {
                0.0 if passes_zero => bound,
                share => share,
            }
        }));
    }
    if let Some(bound) = recipe.short_line_thr.or(0.67) {
        let short = recipe.short_line_length.unwrap_or(30);
        rules.push(Rule::new("short_line_ratio", "short lines", Bound::Max(bound), move |document| {
            share_of_lines(document, |line| num_chars(line.as_bytes()) <= short)
        }));
    }
    if let Some(bound) = recipe.char_duplicates_ratio.or(0.01) {
        rules.push(Rule::new("char_dup_ratio", "characters of repeated lines", Bound::Max(bound), |document| {
            let text = document.text;
            let chars = document.num_chars() - num_line_ends(text);
            document.repeats().duplicates(text, filled_lines(text)).chars as f64 / chars as f64
        }));
    }
    if let Some(bound) = recipe.new_line_ratio.or(0.3) {
        rules.push(Rule::new("list_ratio", "line ends for each word", Bound::Max(bound), |document| {
            num_line_ends(document.text) as f64 / document.words().len() as f64
        }));
    }
    rules
}

fn filled_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').filter(|line| line.chars().any(|c| !is(c, SPACE)))
}

fn num_line_ends(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

fn share_of_lines(document: &Document<'_>, is_such: impl Fn(&str) -> bool) -> f64 {
    let (mut such, mut all) = (0, 0);
    for line in filled_lines(document.text) {
        all += 1;
        such += usize::from(is_such(line));
    }
    such as f64 / f64::from(all)
}
