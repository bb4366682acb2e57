//! Gopher's repetition rules.
//!
//! Source: Rae et al., 2021, arXiv 2112.11446, table A1, as datatrove 0.10.1 reads it (`GopherRepetitionFilter`).

use super::rule::{Bound, Rule};
use crate::filters::document::{Document, parts, strip};
use crate::filters::recipe::FiltersRecipe;
use crate::filters::repeats::Duplicates;

const TOP_N_GRAMS: [(usize, f64); 3] = [(2, 0.2), (3, 0.18), (4, 0.16)];
const DUPLICATED_N_GRAMS: [(usize, f64); 6] = [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)];

/// The rules, in datatrove's order.
///
/// # Errors
/// An n-gram of no words is asked for: the key, and why.
pub fn rules(recipe: &FiltersRecipe) -> Result<Vec<Rule>, (String, String)> {
    let max = |name: &str, computes, limit: Option<f64>, measure: fn(&mut Document<'_>) -> f64| {
        limit.map(|bound| Rule::new(name, computes, Bound::Max(bound), measure))
    };
    let mut rules: Vec<Rule> = [
        max("dup_para_frac", "repeated paragraphs", recipe.dup_para_frac.or(0.3), |document| {
            share_of(paragraphs(document))
        }),
        max("dup_para_char_frac", "characters of repeated paragraphs", recipe.dup_para_char_frac.or(0.2), |document| {
            paragraphs(document).chars as f64 / document.num_chars() as f64
        }),
        max("dup_line_frac", "repeated lines", recipe.dup_line_frac.or(0.3), |document| share_of(lines(document))),
        max("dup_line_char_frac", "characters of repeated lines", recipe.dup_line_char_frac.or(0.2), |document| {
            lines(document).chars as f64 / document.num_chars() as f64
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    for &(n, bound) in recipe.top_n_grams.as_deref().unwrap_or(&TOP_N_GRAMS) {
        check("top_n_grams", n)?;
        rules.push(Rule::new(
            format!("top_{n}_gram"),
            "characters of the most frequent n-gram",
            Bound::Max(bound),
            move |document| {
                let chars = document.num_chars();
                document.n_grams().top_n_gram(n).map_or(0.0, |top| top as f64 / chars as f64)
            },
        ));
    }
    for &(n, bound) in recipe.dup_n_grams.as_deref().unwrap_or(&DUPLICATED_N_GRAMS) {
        check("dup_n_grams", n)?;
        rules.push(Rule::new(
            format!("duplicated_{n}_n_grams"),
            "characters of repeated n-grams",
            Bound::Max(bound),
            move |document| {
                let chars = document.num_chars();
                document.n_grams().duplicated_n_grams(n) as f64 / chars as f64
            },
        ));
    }
    Ok(rules)
}

fn check(key: &str, n: usize) -> Result<(), (String, String)> {
    match n {
        0 => Err((key.to_owned(), "an n-gram has at least one word".to_owned())),
        _ => Ok(()),
    }
}

fn share_of(found: Duplicates) -> f64 {
    found.num as f64 / found.of as f64
}

fn paragraphs(document: &mut Document<'_>) -> Duplicates {
    let text = document.text;
    document.repeats().duplicates(text, parts(strip(text), 2))
}

fn lines(document: &mut Document<'_>) -> Duplicates {
    let text = document.text;
    document.repeats().duplicates(text, parts(text, 1))
}
