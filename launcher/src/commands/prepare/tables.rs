//! What was prepared, as people read it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use tercet_sampler::{DatasetMeta, LanguageMeta, PrepareReport, Skipped};

/// How many skipped lines are shown; all of them are in the store's list.
const SHOWN_SKIPPED: usize = 10;

/// What each data set holds; lengths count special tokens, `tokens` does not.
pub fn data_sets(report: &PrepareReport) -> String {
    let datasets = &report.manifest.datasets;
    let width = datasets.iter().map(|dataset| dataset.name.len()).fold("data set".len(), usize::max);
    let mut table = String::new();
    let mut row = |name: &str, cells: [&str; 5]| {
        let [rows, skipped, duplicates, tokens, longest] = cells;
        // Writing to a string cannot fail.
        _ = writeln!(table, "{name:width$}  {rows:>12}  {skipped:>8}  {duplicates:>10}  {tokens:>14}  {longest:>8}");
    };
    row("data set", ["rows", "skipped", "duplicates", "tokens", "longest"]);
    let longest = |rows_up_to: &[(usize, u64)]| rows_up_to.last().map_or(0, |(length, _)| *length);
    for dataset in datasets {
        let skipped: u64 = dataset.sources.iter().map(|source| source.skipped).sum();
        let longest = longest(&dataset.rows_up_to) as u64;
        let figures = [dataset.num_rows, skipped, dataset.num_duplicates, dataset.num_tokens, longest];
        row(&dataset.name, figures.map(|figure| figure.to_string()).each_ref().map(String::as_str));
    }
    if datasets.len() > 1 {
        let all = datasets.iter().map(|dataset| longest(&dataset.rows_up_to)).max().unwrap_or_default();
        let duplicates = datasets.iter().map(|dataset| dataset.num_duplicates).sum();
        let figures = [report.num_rows, report.num_skipped, duplicates, report.num_tokens, all as u64];
        row("all", figures.map(|figure| figure.to_string()).each_ref().map(String::as_str));
    }
    table
}

/// How many texts the rows are made of, for data sets in which that is another number.
pub fn texts(datasets: &[DatasetMeta]) -> String {
    let line = |dataset: &DatasetMeta| {
        let DatasetMeta { name, num_rows, .. } = dataset;
        let num_texts = dataset.num_texts().filter(|texts| texts != num_rows)?;
        Some(format!("data set {name}: {num_texts} texts are {num_rows} rows\n"))
    };
    datasets.iter().filter_map(line).collect()
}

/// What each language has, the most frequent first.
pub fn languages(datasets: &[DatasetMeta]) -> String {
    let mut languages: BTreeMap<&str, LanguageMeta> = BTreeMap::new();
    for (name, language) in datasets.iter().flat_map(|dataset| &dataset.languages) {
        let sum = languages.entry(name).or_default();
        sum.num_rows += language.num_rows;
        sum.num_tokens += language.num_tokens;
        sum.num_duplicates += language.num_duplicates;
        sum.longest = sum.longest.max(language.longest);
    }
    let mut languages: Vec<_> = languages.into_iter().collect();
    languages.sort_by_key(|(_, language)| Reverse(language.num_rows));
    let width = languages.iter().map(|(name, _)| name.len()).fold("language".len(), usize::max);
    let [rows, duplicates, tokens, longest] = ["rows", "duplicates", "tokens", "longest"];
    let mut table = format!("{:width$}  {rows:>12}  {duplicates:>10}  {tokens:>14}  {longest:>8}\n", "language");
    for (name, language) in languages {
        let LanguageMeta { num_rows, num_tokens, num_duplicates, longest } = language;
        // Writing to a string cannot fail.
        _ = writeln!(table, "{name:width$}  {num_rows:>12}  {num_duplicates:>10}  {num_tokens:>14}  {longest:>8}");
    }
    table
}

/// The first of the skipped lines, and where all of them are.
pub fn skipped(num_skipped: u64, list: &Path) -> anyhow::Result<String> {
    let reading = || format!("reading {}", list.display());
    let mut text = format!("{num_skipped} rows were skipped; all of them are listed in {}\n", list.display());
    for line in BufReader::new(File::open(list).with_context(reading)?).lines().take(SHOWN_SKIPPED) {
        let line = line.with_context(reading)?;
        let Skipped { file, line, row, reason } = serde_json::from_str(&line).with_context(reading)?;
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let row = row.map(|row| format!(" row {row}:")).unwrap_or_default();
        text += &format!("  {file}{line}:{row} {reason}\n");
    }
    if num_skipped > SHOWN_SKIPPED as u64 {
        text += "  …\n";
    }
    Ok(text)
}
