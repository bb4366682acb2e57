//! What a mining says on the screen when it is done.

use std::fmt::Write;

use tercet_protocol::args::MineArgs;
use tercet_protocol::says::mine::{MineReport, Mined};

use super::known::Known;

/// Warns of what the user may not want, and prints the figures.
pub(super) fn say(args: &MineArgs, known: &Known, report: &MineReport) {
    let (all, passages) = (&report.all, report.passages);
    if all.short + all.dropped > 0 {
        let (few, rows, wanted) = (all.short + all.dropped, all.rows, args.negatives);
        let became = match (all.dropped, all.without) {
            (0, 0) => String::new(),
            (0, none) => format!(", {none} of them none"),
            (dropped, _) => format!(", and {dropped} are left out"),
        };
        tracing::warn!(
            "{few} of {rows} rows got fewer than {wanted} negatives{became}: {passages} passages are few for --range {}, or \
             the filters are strict: lower it, or give more passages",
            args.range
        );
    }
    if known.num_scored > 0 && !args.write_scores {
        let scored = known.num_scored;
        tracing::warn!("the neg_scores of {scored} rows belonged to their old negatives and are removed");
    }
    print!("{}", table(report));
    let written = all.rows - all.dropped;
    println!("{written} rows with negatives from {passages} passages in {}", args.out.display());
}

/// A line for each file, and what was left out of all of them.
fn table(report: &MineReport) -> String {
    let all = &report.all;
    let lines = || {
        let of_all = (report.by_file.len() > 1).then_some(("all", all));
        report.by_file.iter().map(|(name, mined)| (name.as_str(), mined)).chain(of_all)
    };
    let width = lines().map(|(name, _)| name.chars().count()).fold("file".len(), usize::max);
    let mut table = String::new();
    let mut line = |name: &str, cells: [String; 6]| {
        let [rows, negatives, widened, few, rank, score] = cells;
        // Writing to a string cannot fail.
        _ = writeln!(
            table,
            "{name:width$}  {rows:>10}  {negatives:>10}  {widened:>10}  {few:>10}  {rank:>11}  {score:>12}"
        );
    };
    line("file", ["rows", "negatives", "widened", "too few", "median rank", "median score"].map(str::to_owned));
    for (name, mined) in lines() {
        line(name, cells(mined));
    }
    if !all.removed.is_empty() {
        let reasons: Vec<String> =
            all.removed.iter().map(|(reason, count)| format!("{count} {}", reason.replace('_', " "))).collect();
        _ = writeln!(table, "left out: {}", reasons.join(", "));
    }
    if let Some(rate) = all.known_elsewhere.rate {
        let rows = all.known_elsewhere.rows;
        _ = writeln!(
            table,
            "known only to other rows: {:.2} % of the range, over {rows} rows with such answers; an estimate of the false \
             negatives among what is drawn",
            100.0 * rate
        );
    }
    table
}

fn cells(mined: &Mined) -> [String; 6] {
    let median =
        |of: &Option<tercet_protocol::says::mine::Quantiles>| of.as_ref().map_or("-".to_owned(), |q| q.p50.to_string());
    let few = mined.short + mined.dropped;
    let counts = [mined.rows, mined.negatives, mined.widened, few].map(|count| count.to_string());
    let [rows, negatives, widened, few] = counts;
    [rows, negatives, widened, few, median(&mined.ranks), median(&mined.scores)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_the_report_says() {
        let mined = Mined {
            rows: 12,
            negatives: 80,
            short: 2,
            dropped: 1,
            removed: [("near_duplicate".to_owned(), 5), ("copy".to_owned(), 3)].into(),
            known_elsewhere: tercet_protocol::says::mine::KnownElsewhere {
                rows: 4,
                ranks: 200,
                answers: 3,
                rate: Some(0.015),
            },
            ..Mined::default()
        };
        let report = MineReport {
            weights: String::new(),
            corpus: String::new(),
            passages: 100,
            ranking: "dense".into(),
            range: [10, 100],
            negatives: 7,
            all: mined.clone(),
            by_file: [("a.jsonl".to_owned(), mined.clone()), ("b.jsonl".to_owned(), mined)].into(),
            by_language: Default::default(),
        };
        let table = table(&report);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 6, "{table}");
        assert!(lines[1].starts_with("a.jsonl") && lines[3].starts_with("all"), "{table}");
        assert_eq!(lines[4], "left out: 3 copy, 5 near duplicate");
        assert!(lines[5].contains("1.50 % of the range"), "{table}");
    }
}
