//! The report: JSON for programs, a table for people, and pictures of languages and lengths.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tercet_pictures::{Bar, Panel};

use super::accounts::{Accounts, Lengths, buckets};
use super::place::{Place, REPORT, TABLE, to_json};
use super::recipe::Recipe;
use super::writing::Written;
use crate::error::CurateError;
use crate::filters::Filters;
use crate::relevance::Scores;

const PICTURE: &str = "report.svg";

/// Reasons that a line of the table names.
const NAMED_REASONS: usize = 4;
/// Languages that have a bar of their own.
const NAMED_LANGUAGES: usize = 30;

#[derive(Debug, Serialize)]
struct Report<'a> {
    all: Counts<'a>,
    sources: BTreeMap<&'a str, Counts<'a>>,
    /// For each source the published rules that it was asked about, in order.
    rules: BTreeMap<&'a str, Vec<AskedRule>>,
    /// The bytes of each file that was written, but for this one.
    files: BTreeMap<String, u64>,
    /// How pairs score, if a model was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    relevance: Option<&'a Scores>,
}

#[derive(Debug, Serialize)]
struct AskedRule {
    reason: String,
    computes: String,
    bound: String,
}

#[derive(Debug, Serialize)]
struct Counts<'a> {
    /// Pairs, and records that gave none.
    offered: u64,
    kept: u64,
    dropped: BTreeMap<String, u64>,
    #[serde(flatten)]
    accounts: &'a Accounts,
}

impl<'a> Counts<'a> {
    fn of(accounts: &'a Accounts) -> Self {
        let dropped = accounts.reasons().into_iter().map(|(reason, count)| (reason.to_string(), count)).collect();
        Self { offered: accounts.num_offered(), kept: accounts.num_kept(), dropped, accounts }
    }
}

/// Writes it of what was written before, and of how pairs score.
///
/// # Errors
/// The operating system's.
pub fn write(
    Written { accounts, mut files }: Written,
    filters: &[Arc<Filters>],
    relevance: Option<&Scores>,
    recipe: &Recipe,
    place: &Place,
) -> Result<(), CurateError> {
    let mut all = Accounts::default();
    accounts.iter().for_each(|accounts| all.merge(accounts));
    let names = || recipe.source.iter().map(|source| source.name.as_str());
    let mut write = |name: &str, text: &str| {
        files.insert(name.to_owned(), text.len() as u64);
        place.write(name, text.as_bytes())
    };
    write(TABLE, &table(&all, names().zip(&accounts)))?;
    // Bars and texts can always be drawn into a string.
    let picture = tercet_pictures::svg(&panels(&all)).map_err(|error| CurateError::Usage(error.to_string()))?;
    write(PICTURE, &picture)?;
    let sources = names().zip(accounts.iter().map(Counts::of)).collect();
    let rule = |(reason, computes, bound)| AskedRule { reason, computes, bound };
    let rules = names().zip(filters.iter().map(|filters| filters.rules().into_iter().map(rule).collect())).collect();
    place.write(REPORT, &to_json(&Report { all: Counts::of(&all), sources, rules, files, relevance }))
}

/// A line for each source and for all, and a line for each language.
fn table<'a>(all: &'a Accounts, sources: impl Iterator<Item = (&'a str, &'a Accounts)>) -> String {
    let mut lines = vec![["source", "offered", "kept", "", "dropped for"].map(str::to_owned)];
    lines.extend(sources.chain([("all", all)]).map(|(name, accounts)| {
        let (offered, kept) = (accounts.num_offered(), accounts.num_kept());
        let mut reasons: Vec<_> = accounts.reasons().into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut named: Vec<String> =
            reasons.iter().take(NAMED_REASONS).map(|(reason, count)| format!("{reason} {count}")).collect();
        if reasons.len() > NAMED_REASONS {
            named.push(format!("{} more", reasons.len() - NAMED_REASONS));
        }
        [name.to_owned(), offered.to_string(), kept.to_string(), share(kept, offered), named.join(", ")]
    }));
    let mut told = aligned(&lines);
    let total = all.num_kept();
    let has_tokens = all.languages.values().any(|language| language.passage.tokens.is_some());
    let tokens = if has_tokens { "tokens" } else { "" };
    let mut lines = vec![["language", "kept", "", "characters", tokens, ""].map(str::to_owned)];
    lines.extend(by_kept(all).into_iter().map(|(name, kept)| {
        let passages = &all.languages[name].passage;
        let mean = |sum: u64| sum.checked_div(kept).map_or(String::new(), |mean| mean.to_string());
        let tokens = passages.tokens.as_ref().map_or(String::new(), |tokens| mean(tokens.tokens));
        [name.to_owned(), kept.to_string(), share(kept, total), mean(passages.characters), tokens, String::new()]
    }));
    told += "\n";
    told += &aligned(&lines);
    told
}

/// Languages of kept rows, the most frequent first.
fn by_kept(all: &Accounts) -> Vec<(&str, u64)> {
    let kept = all.languages.iter().map(|(name, language)| (name.as_str(), language.kept));
    let mut all: Vec<_> = kept.filter(|(_, kept)| *kept > 0).collect();
    all.sort_by_key(|(_, kept)| std::cmp::Reverse(*kept));
    all
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

/// Columns of one width each, numbers to the right.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let cells = |line: &[String; N]| {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 || column == N - 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(cells).collect()
}

/// Languages, and lengths of passages and queries.
fn panels(all: &Accounts) -> Vec<Panel> {
    let total = all.num_kept();
    let bar = |name: String, count: u64| Bar {
        name,
        value: count as f64,
        label: format!("{count} ({})", share(count, total)),
    };
    let languages = by_kept(all);
    let rest: u64 = languages.iter().skip(NAMED_LANGUAGES).map(|(_, kept)| kept).sum();
    let named = languages.iter().take(NAMED_LANGUAGES).map(|(name, kept)| bar((*name).to_owned(), *kept));
    let others = languages.len().saturating_sub(NAMED_LANGUAGES);
    let others = (others > 0).then(|| bar(format!("{others} others"), rest));
    let mut panels = vec![Panel { title: "Rows by language".into(), bars: named.chain(others).collect() }];
    let (mut passages, mut queries) = (Lengths::default(), Lengths::default());
    for language in all.languages.values() {
        passages.merge(&language.passage);
        queries.merge(&language.query);
    }
    let mut add = |title: &str, lens: &BTreeMap<u64, u64>| {
        let there = |from: &u64| lens.get(from).copied().unwrap_or(0);
        let bounds: Vec<u64> = buckets().collect();
        let first = bounds.iter().position(|from| there(from) > 0).unwrap_or(0);
        let last = bounds.iter().rposition(|from| there(from) > 0).unwrap_or(0);
        let bars = (first..=last).map(|i| bar(format!("from {}", bounds[i]), there(&bounds[i]))).collect();
        panels.push(Panel { title: title.into(), bars });
    };
    add("Characters of passages", &passages.from);
    add("Characters of queries", &queries.from);
    passages.tokens.iter().for_each(|tokens| add("Tokens of passages", &tokens.from));
    queries.tokens.iter().for_each(|tokens| add("Tokens of queries", &tokens.from));
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn a_table_names_sources_reasons_and_languages() {
        let mut one = Accounts::default();
        one.kept("de", ["Was?", "Das ist es."], None);
        one.kept("en", ["What?", "That is it."], None);
        one.kept("en", ["Where?", "There it is, behind the house."], None);
        one.dropped("en", &Reason::new("short"));
        let empty = Accounts::default();
        let told = table(&one, [("wiki", &one), ("none", &empty)].into_iter());
        assert_eq!(
            told,
            "source  offered  kept          dropped for\n\
             wiki          4     3  75.0 %  short 1\n\
             none          0     0       –\n\
             all           4     3  75.0 %  short 1\n\
             \n\
             language  kept          characters\n\
             en           2  66.7 %          20\n\
             de           1  33.3 %          11\n"
        );
        let mut counted = Accounts::default();
        counted.kept("de", ["Was?", "Das ist es."], Some([2, 4]));
        assert!(
            table(&counted, [].into_iter())
                .ends_with("characters  tokens\nde           1  100.0 %          11       4\n")
        );
        assert_eq!(panels(&counted).len(), 5);
        let panels = panels(&one);
        assert_eq!(panels.len(), 3);
        assert_eq!(panels[0].bars.iter().map(|bar| bar.name.as_str()).collect::<Vec<_>>(), ["en", "de"]);
        assert_eq!(panels[1].bars.iter().map(|bar| bar.value).collect::<Vec<_>>(), [2.0, 0.0, 0.0, 1.0]);
    }
}
