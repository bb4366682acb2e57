//! Gopher's quality rules.
//!
//! Source: Rae et al., 2021, arXiv 2112.11446, A.1.1, as datatrove 0.10.1 reads them (`GopherQualityFilter`):
//! punctuation counts as words, but for the first two rules.

use super::rule::{Bound, For, Rule};
use crate::filters::characters::{SPACE, is};
use crate::filters::document::{Document, lines};
use crate::filters::recipe::FiltersRecipe;

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// The rules, in datatrove's order.
pub fn rules(recipe: &FiltersRecipe) -> Vec<Rule> {
    let min = |name: &str, computes, limit: Option<f64>, measure: fn(&mut Document<'_>) -> f64| {
        limit.map(|bound| Rule::new(name, computes, Bound::Min(bound), measure))
    };
    let max = |name: &str, computes, limit: Option<f64>, measure: fn(&mut Document<'_>) -> f64| {
        limit.map(|bound| Rule::new(name, computes, Bound::Max(bound), measure))
    };
    let symbols = recipe.max_symbol_word_ratio.or(0.1);
    let of_spaced = |rule: Option<Rule>| rule.map(|rule| rule.only(For::Spaced));
    let rules = [
        min("gopher_short_doc", "words that are not punctuation", recipe.min_doc_words.or(50.0), proper_words),
        max("gopher_long_doc", "words that are not punctuation", recipe.max_doc_words.or(100_000.0), proper_words),
        of_spaced(min("gopher_below_avg_threshold", MEAN_LENGTH, recipe.min_avg_word_length.or(3.0), mean_word_length)),
        of_spaced(max(
            "gopher_above_avg_threshold",
            MEAN_LENGTH,
            recipe.max_avg_word_length.or(10.0),
            mean_word_length,
        )),
        max("gopher_too_many_hashes", "# for each word", symbols, hashes),
        max("gopher_too_many_ellipsis", "ellipses for each word", symbols, ellipses),
        max(
            "gopher_too_many_bullets",
            "lines that begin with a bullet",
            recipe.max_bullet_lines_ratio.or(0.9),
            bullets,
        ),
        max(
            "gopher_too_many_end_ellipsis",
            "lines that end with an ellipsis",
            recipe.max_ellipsis_lines_ratio.or(0.3),
            end_ellipses,
        ),
        min(
            "gopher_below_alpha_threshold",
            "words with a letter",
            recipe.max_non_alpha_words_ratio.or(0.8),
            words_with_letter,
        ),
        stop_words(recipe),
    ];
    rules.into_iter().flatten().collect()
}

const MEAN_LENGTH: &str = "mean length of words that are not punctuation";

fn proper_words(document: &mut Document<'_>) -> f64 {
    document.word_counts().proper as f64
}

fn mean_word_length(document: &mut Document<'_>) -> f64 {
    let counts = document.word_counts();
    counts.proper_chars as f64 / counts.proper as f64
}

fn hashes(document: &mut Document<'_>) -> f64 {
    let hashes = document.text.bytes().filter(|byte| *byte == b'#').count();
    hashes as f64 / document.word_counts().all as f64
}

fn ellipses(document: &mut Document<'_>) -> f64 {
    let ellipses = document.text.matches("...").count() + document.text.matches('…').count();
    ellipses as f64 / document.word_counts().all as f64
}

fn bullets(document: &mut Document<'_>) -> f64 {
    share_of_lines(document, |line| line.trim_start_matches(|c| is(c, SPACE)).starts_with(['•', '-']))
}

fn end_ellipses(document: &mut Document<'_>) -> f64 {
    share_of_lines(document, |line| {
        let line = line.trim_end_matches(|c| is(c, SPACE));
        line.ends_with("...") || line.ends_with('…')
    })
}

fn share_of_lines(document: &Document<'_>, is_such: impl Fn(&str) -> bool) -> f64 {
    let (mut such, mut all) = (0, 0);
    for line in lines(document.text) {
        all += 1;
        such += usize::from(is_such(line));
    }
    such as f64 / f64::from(all)
}

fn words_with_letter(document: &mut Document<'_>) -> f64 {
    let counts = document.word_counts();
    counts.with_letter as f64 / counts.all as f64
}

fn stop_words(recipe: &FiltersRecipe) -> Option<Rule> {
    let bound = recipe.min_stop_words.or(2.0)?;
    let mut words: Vec<String> =
        recipe.stop_words.clone().unwrap_or_else(|| STOP_WORDS.iter().map(|word| (*word).to_owned()).collect());
    words.sort_unstable();
    words.dedup();
    let measure = move |document: &mut Document<'_>| {
        let text = document.text;
        let mut is_there = vec![false; words.len()];
        let mut num = 0;
        for word in document.words() {
            if let Ok(place) = words.binary_search_by(|stop| stop.as_str().cmp(word.of(text)))
                && !std::mem::replace(&mut is_there[place], true)
            {
                num += 1;
                if f64::from(num) >= bound {
                    break;
                }
            }
        }
        f64::from(num)
    };
    let documents = if recipe.stop_words.is_some() { For::All } else { For::English };
    Some(Rule::new("gopher_enough_stop_words", "different stop words", Bound::Min(bound), measure).only(documents))
}
