//! `tercet prepare`: from what was typed to [`tercet_sampler::prepare`], and from its report to a table.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;
use tercet_sampler::{
    DatasetMeta, LanguageMeta, OnError, PrepareInput, PrepareOptions, PrepareProgress, PrepareReport,
};

use crate::args::{self, PrepareArgs};
use crate::lengths::LengthCounts;
use crate::picture;
use crate::progress::short;
use crate::screen::Screen;

/// The picture of the rows' lengths, in the store.
const LENGTHS_FILE: &str = "lengths.svg";

/// How often a log gets a line.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How many skipped lines are shown; all of them are in the store's list.
const SHOWN_SKIPPED: usize = 10;

/// Writes the token store and prints what is in it.
///
/// # Errors
/// As [`tercet_sampler::prepare`].
pub fn run(args: &PrepareArgs) -> anyhow::Result<()> {
    let screen = Screen::new();
    let mut progress =
        Progress { screen: screen.clone(), started: Instant::now(), logged: Instant::now(), open: false };
    // A store without its picture is still a store.
    let mut picture = Ok(());
    let mut companions = |datasets: &[DatasetMeta]| match picture::lengths::svg(datasets) {
        Ok(svg) => vec![(LENGTHS_FILE, svg)],
        Err(error) => {
            picture = Err(error);
            Vec::new()
        }
    };
    let report = tercet_sampler::prepare_with(&options(args), &mut |so_far| progress.show(so_far), &mut companions);
    screen.close_bar();
    let report = report.map_err(|e| going_on(e.into(), &args.out))?;
    let datasets = &report.manifest.datasets;
    let tables = [table(&report), languages(datasets), LengthCounts::of(datasets).table()];
    screen.pass(tables.join("\n").as_bytes());
    picture?;
    for warning in &report.warnings {
        screen.say(&format!("warning: {warning}\n"));
    }
    if report.num_texts_cut > 0 {
        let (query, passage) = (args.query_max_len, args.passage_max_len);
        let cut = report.num_texts_cut;
        screen.say(&format!("{cut} texts were cut (queries at {query} tokens, passages at {passage})\n"));
    }
    if let Some(list) = report.skipped_list.as_deref().filter(|_| report.num_skipped > 0) {
        screen.say(&skipped(report.num_skipped, list)?);
    }
    screen.say(&format!("token store {} written in {}\n", args.out.display(), short(progress.started.elapsed())));
    Ok(())
}

/// Says how to go on, if something is there to go on with.
fn going_on(error: anyhow::Error, out: &Path) -> anyhow::Error {
    if !tercet_sampler::is_unfinished(out) {
        return error;
    }
    error.context(format!(
        "{} keeps what is finished: the same command goes on with it, but for data sets whose files have changed",
        out.display()
    ))
}

fn options(args: &PrepareArgs) -> PrepareOptions {
    PrepareOptions {
        tokenizer: args.tokenizer.clone(),
        inputs: args
            .inputs
            .iter()
            .map(|input| PrepareInput { name: input.name.clone(), paths: input.paths.clone() })
            .collect(),
        out: args.out.clone(),
        query_max_len: args.query_max_len,
        passage_max_len: args.passage_max_len,
        on_error: match args.on_error {
            args::OnError::Stop => OnError::Stop,
            args::OnError::Skip => OnError::Skip,
        },
        drop_duplicates: args.drop_duplicates,
        rows_per_shard: args.rows_per_shard.get(),
    }
}

/// A bar by bytes read, or a line now and then.
struct Progress {
    screen: Screen,
    started: Instant,
    logged: Instant,
    open: bool,
}

impl Progress {
    fn show(&mut self, so_far: PrepareProgress<'_>) {
        if !self.open {
            self.screen.open_bar(so_far.input_bytes_total);
            self.open = true;
        }
        if self.screen.is_terminal() {
            self.screen.move_bar(so_far.input_bytes, describe(&so_far, self.started.elapsed()));
        } else if self.logged.elapsed() >= LOG_INTERVAL {
            self.logged = Instant::now();
            self.screen.say(&format!("{}\n", describe(&so_far, self.started.elapsed())));
        }
    }
}

/// `man  1200 rows  3 skipped  410000 tokens  31 %  left 1m05s`
fn describe(so_far: &PrepareProgress<'_>, elapsed: Duration) -> String {
    let PrepareProgress { dataset, rows, skipped, tokens, input_bytes, input_bytes_total } = *so_far;
    let mut text = format!("{dataset}  {rows} rows");
    if skipped > 0 {
        text += &format!("  {skipped} skipped");
    }
    text += &format!("  {tokens} tokens");
    if input_bytes > 0 && input_bytes_total >= input_bytes {
        let left = elapsed.mul_f64((input_bytes_total - input_bytes) as f64 / input_bytes as f64);
        text += &format!("  {} %  left {}", 100 * input_bytes / input_bytes_total, short(left));
    }
    text
}

/// What each data set holds; lengths count special tokens, `tokens` does not.
fn table(report: &PrepareReport) -> String {
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

/// What each language has, the most frequent first.
fn languages(datasets: &[DatasetMeta]) -> String {
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
fn skipped(num_skipped: u64, list: &Path) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Skipped {
        file: String,
        line: Option<u64>,
        row: Option<u64>,
        reason: String,
    }
    let reading = || format!("reading {}", list.display());
    let mut text = format!("{num_skipped} rows were skipped; all of them are listed in {}\n", list.display());
    for line in BufReader::new(File::open(list).with_context(reading)?).lines().take(SHOWN_SKIPPED) {
        let Skipped { file, line, row, reason } =
            serde_json::from_str(&line.with_context(reading)?).with_context(reading)?;
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let row = row.map(|row| format!(" row {row}:")).unwrap_or_default();
        text += &format!("  {file}{line}:{row} {reason}\n");
    }
    if num_skipped > SHOWN_SKIPPED as u64 {
        text += "  …\n";
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line() {
        let mut so_far = PrepareProgress {
            dataset: "man",
            rows: 12,
            tokens: 300,
            input_bytes: 25,
            input_bytes_total: 100,
            ..PrepareProgress::default()
        };
        let elapsed = Duration::from_secs(20);
        assert_eq!(describe(&so_far, elapsed), "man  12 rows  300 tokens  25 %  left 1m00s");
        (so_far.input_bytes, so_far.skipped) = (0, 2);
        assert_eq!(describe(&so_far, elapsed), "man  12 rows  2 skipped  300 tokens");
    }
}
