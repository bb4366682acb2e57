//! The outcome of all parts: one JSON file for machines, one page for people.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tercet_protocol::says::card::{Outcome, Report};

use crate::inputs::write;

/// Writes report.md and report.json into `folder`; `lines` are the page's, part by part.
///
/// # Errors
/// They cannot be written.
pub fn write_both(report: &Report, lines: &[Vec<String>], folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let json = without_names(&(serde_json::to_string_pretty(report)? + "\n"), folder);
    Ok([write(&folder.join("report.md"), page(report, lines))?, write(&folder.join("report.json"), json)?])
}

/// How many parts ended how, in a line.
pub fn summary(report: &Report) -> String {
    let count = |outcome: Outcome| report.parts.iter().filter(|part| part.outcome == outcome).count();
    let all =
        [Outcome::Ok, Outcome::Wrong, Outcome::Failed, Outcome::NotReached, Outcome::NotRun, Outcome::NotAskedFor];
    let counts: Vec<String> = all
        .into_iter()
        .filter(|outcome| count(*outcome) > 0)
        .map(|outcome| format!("{} {}", count(outcome), outcome.words()))
        .collect();
    format!("{} parts in {:.0} s: {}", report.parts.len(), report.secs, counts.join(", "))
}

fn page(report: &Report, lines: &[Vec<String>]) -> String {
    let is_whole = report.parts.iter().all(|part| part.outcome != Outcome::NotAskedFor);
    let verdict = match (report.all_right, is_whole) {
        (true, true) => "Everything that can run here ran, and is right.",
        (true, false) => "What was asked for ran, and is right.",
        (false, _) => "**Something is not right.**",
    };
    let mut page = format!("# Tercet on this machine's GPUs\n\n{verdict} {}.\n\n", summary(report));
    if report.small {
        page += "Toy sizes: this shows that the test works, and says nothing of a card.\n\n";
    }
    page += "| part | question | outcome | took |\n|---|---|---|---|\n";
    for part in &report.parts {
        // Writing to a string cannot fail.
        _ = writeln!(
            page,
            "| {} | {} | {} | {:.0} s of {} |",
            part.name,
            part.question,
            part.outcome.words(),
            part.secs,
            part.limit_secs
        );
    }
    for (part, lines) in report.parts.iter().zip(lines) {
        _ = writeln!(page, "\n## {}: {}\n", part.name, part.outcome.words());
        for why in &part.why {
            _ = writeln!(page, "- **{why}**");
        }
        for left_out in &part.left_out {
            _ = writeln!(page, "- not tried: {left_out}");
        }
        if !(part.why.is_empty() && part.left_out.is_empty()) {
            page.push('\n');
        }
        page += lines.join("\n").trim_end();
        page.push('\n');
    }
    let made: Vec<String> = report.cpu_numbers.iter().map(|(name, value)| format!("{name} {value}")).collect();
    _ = writeln!(page, "\nThe CPU's numbers: {}.", made.join("; "));
    page
}

/// The text without what names this machine and its folders: it may be sent to others.
fn without_names(text: &str, folder: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut text = text.to_owned();
    // As ranks name their host, in lines such as `rank 0/2 gpu04: …`.
    if !host.trim().is_empty() {
        text = text.replace(&format!(" {}:", host.trim()), " HOST:");
    }
    let folders = [Some(folder.to_owned()), folder.canonicalize().ok(), std::env::current_dir().ok()];
    for path in folders.into_iter().flatten().filter(|path| path.components().count() > 1) {
        text = text.replace(&path.display().to_string(), "FOLDER");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use tercet_protocol::says::card::{FORMAT, Figures, Part, Timed};

    use super::*;

    fn part(name: &str, outcome: Outcome, why: &str) -> Part {
        let why = if why.is_empty() { Vec::new() } else { vec![why.to_owned()] };
        let (name, question, figures) = (name.to_owned(), "?".to_owned(), Figures::default());
        Part { name, question, outcome, why, left_out: Vec::new(), secs: 1.0, limit_secs: 2, figures }
    }

    #[test]
    fn a_page_says_what_is_wrong_and_what_did_not_run() {
        let parts = vec![
            part("a", Outcome::Ok, ""),
            part("b", Outcome::Wrong, "off by 3"),
            part("c", Outcome::NotReached, "the time was over"),
        ];
        let report = Report {
            format: FORMAT,
            tercet: "0".into(),
            small: true,
            all_right: false,
            began: 0,
            secs: 3.0,
            shape: "a toy".into(),
            config: Map::new(),
            timed: Timed { query_len: 64, group_size: 2, sub_batch_tokens: 256 },
            cpu_numbers: [("by".to_owned(), "hand".to_owned())].into(),
            parts,
        };
        let page = page(&report, &vec![vec!["a line".to_owned()]; 3]);
        for words in ["Something is not right", "1 ok, 1 WRONG, 1 NOT REACHED", "**off by 3**", "by hand", "Toy sizes"]
        {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!Outcome::NotReached.is_no_fault() && !Outcome::Failed.is_no_fault() && Outcome::NotRun.is_no_fault());
    }
}
