//! Finds differences in what must be equal on all ranks.

use std::collections::BTreeMap;

use tercet_protocol::says::doctor::{Finding, Level, RankFacts};

use super::wording::named;

/// A recipe that cannot be used: a mistake if no rank can use it, else a machine with another file.
pub(super) fn recipes(facts: &[RankFacts]) -> Vec<Finding> {
    let bad: Vec<(&RankFacts, &String)> =
        facts.iter().filter_map(|rank| Some((rank, rank.recipe_error.as_ref()?))).collect();
    match bad.first() {
        Some((_, error)) if bad.len() == facts.len() => vec![Finding::new(Level::Mistake, "", error.as_str())],
        _ => bad
            .into_iter()
            .map(|(rank, error)| Finding::new(Level::Sick, &rank.host, named(&[rank.rank], error)))
            .collect(),
    }
}

/// Finds values that must be equal on all ranks and are not. The most frequent value counts as right; among equally
/// frequent ones, the first.
pub(super) fn differences(
    prefix: &str,
    remedy: &str,
    facts: &[RankFacts],
    values: impl Fn(&RankFacts) -> BTreeMap<String, Option<String>>,
) -> Vec<Finding> {
    let usable: Vec<(&RankFacts, BTreeMap<String, Option<String>>)> =
        facts.iter().filter(|rank| rank.recipe_error.is_none()).map(|rank| (rank, values(rank))).collect();
    let mut names: Vec<&String> = usable.iter().flat_map(|(_, values)| values.keys()).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let value_of = |values: &BTreeMap<String, Option<String>>| values.get(name).cloned().flatten();
        let mut counts: Vec<(Option<String>, usize)> = Vec::new();
        for (_, values) in &usable {
            let value = value_of(values);
            match counts.iter_mut().find(|(known, _)| *known == value) {
                Some((_, count)) => *count += 1,
                None => counts.push((value, 1)),
            }
        }
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let usual = counts.iter().find(|(_, count)| *count == most).and_then(|(value, _)| value.clone());
        if usual.is_none() && counts.len() == 1 {
            found.push(Finding::new(
                Level::Mistake,
                "",
                format!("the recipe's {name} is not there, or cannot be read"),
            ));
        }
        let mut odd: BTreeMap<(&str, Option<String>), Vec<usize>> = BTreeMap::new();
        for (rank, values) in usable.iter().filter(|(_, values)| value_of(values) != usual) {
            odd.entry((&rank.host, value_of(values))).or_default().push(rank.rank);
        }
        for ((host, value), ranks) in odd {
            let what = match (&value, &usual) {
                (Some(value), Some(usual)) => {
                    format!("the {prefix}{name} is {}, most ranks' is {}", short(value), short(usual))
                }
                (Some(value), None) => format!("the {prefix}{name} is {}, most ranks have none", short(value)),
                (None, _) => format!("the {name} is not there, or cannot be read, and other ranks have it"),
            };
            found.push(Finding::new(Level::Sick, host, named(&ranks, &format!("{what}: {remedy}"))));
        }
    }
    found
}

/// Shortens a checksum to its first digits, which say enough; versions stay whole.
pub(super) fn short(value: &str) -> &str {
    if value.len() == 64 { &value[..12] } else { value }
}
