//! `tercet step` without `--json`: the worker's JSON object as a table for people.

use std::fmt::Write;

use tercet_protocol::says::step::{Report, TERMS};

/// How many of the largest gradients are listed.
const LISTED_GRADIENTS: usize = 5;

/// The table of a step.
pub fn table(step: Report) -> String {
    let mut rows = vec![("ranks".to_owned(), step.world_size.to_string()), ("loss".into(), number(step.loss))];
    let mut terms: Vec<_> = step.terms.into_iter().collect();
    terms.sort_by_key(|(term, _)| place(term));
    rows.extend(terms.iter().map(|(term, value)| (format!("  {term}"), number(*value))));
    let mut scores: Vec<_> = step.scores.into_iter().collect();
    scores.sort_by_key(|(head, _)| place(head));
    rows.extend(scores.iter().map(|(head, scores)| {
        let passages = scores.first().map_or(0, Vec::len);
        (format!("scores, {head}"), format!("{} queries x {passages} passages", scores.len()))
    }));
    rows.push(("gradient norm".into(), number(step.total_grad_norm)));

    let mut gradients: Vec<_> = step.param_grad_norm.into_iter().collect();
    gradients.sort_by(|a, b| b.1.unwrap_or(f64::INFINITY).total_cmp(&a.1.unwrap_or(f64::INFINITY)));
    rows.extend(gradients.iter().take(LISTED_GRADIENTS).map(|(name, norm)| (format!("  {name}"), number(*norm))));
    if let Some(more @ 1..) = gradients.len().checked_sub(LISTED_GRADIENTS) {
        rows.push((format!("  … {more} smaller ones (--json has all)"), String::new()));
    }

    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().fold(String::new(), |mut table, (name, value)| {
        // Writing to a string cannot fail.
        _ = writeln!(table, "{}", format!("{name:width$}  {value}").trim_end());
        table
    })
}

fn place(term: &str) -> usize {
    TERMS.iter().position(|known| *known == term).unwrap_or(TERMS.len())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "not a number".into(), |value| format!("{value:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_gradients_come_first_and_the_rest_is_counted() {
        let json = br#"{"loss": 1.5, "terms": {"dense": 2.0, "hybrid": null}, "scores": {"dense": [[1, 2], [3, 4]]},
            "param_grad_norm": {"a": 1, "b": 7, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6},
            "total_grad_norm": 11.83, "world_size": 2}"#;
        let table = table(serde_json::from_slice(json).unwrap());
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["ranks", "2"]);
        assert_eq!(lines[1], ["loss", "1.500000"]);
        assert_eq!(lines[2], ["dense", "2.000000"]);
        assert_eq!(lines[3], ["hybrid", "not", "a", "number"]);
        assert_eq!(lines[4], ["scores,", "dense", "2", "queries", "x", "2", "passages"]);
        assert_eq!(lines[6], ["b", "7.000000"]);
        assert!(lines[11].contains(&"2"), "{table}");
    }
}
