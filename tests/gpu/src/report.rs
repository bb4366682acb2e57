//! The outcome of all parts: one JSON file for machines, one page for people.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::inputs::write;

/// How a part ended. Only the first counts as passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran to its end, and everything was right.
    Ok,
    /// Something was not right.
    Wrong,
    /// It did not come to its end.
    Failed,
    /// This machine has nothing to try it on.
    NotRun,
    /// `--only` left it out.
    NotAskedFor,
    /// The time of the whole was over.
    NotReached,
}

/// A part's outcome.
#[derive(Debug, Serialize)]
pub struct Done {
    /// The part.
    pub name: &'static str,
    /// What it answers.
    pub question: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Sentences: what is wrong, or why it was not done.
    pub why: Vec<String>,
    /// What could not be tried.
    pub left_out: Vec<String>,
    /// What it took.
    pub secs: f64,
    /// What it might have taken.
    pub limit_secs: u64,
    /// By name.
    pub figures: Map<String, Value>,
    /// The page's lines.
    #[serde(skip)]
    pub lines: Vec<String>,
}

/// The whole.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of this file's form.
    pub format: u32,
    /// This program's version.
    pub tercet: &'static str,
    /// Toys: the figures say nothing of a card.
    pub small: bool,
    /// Everything that could run here did, and is right.
    pub all_right: bool,
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// What it took.
    pub secs: f64,
    /// The shape of the model whose speed was measured.
    pub shape: &'static str,
    /// How the numbers were made that a GPU's were compared with.
    pub cpu_numbers: std::collections::BTreeMap<String, String>,
    /// In order.
    pub parts: Vec<Done>,
}

impl Outcome {
    /// As people read it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wrong => "WRONG",
            Self::Failed => "FAILED",
            Self::NotRun => "not run",
            Self::NotAskedFor => "not asked for",
            Self::NotReached => "NOT REACHED",
        }
    }

    /// Whether the whole may still be called right.
    pub fn is_no_fault(self) -> bool {
        matches!(self, Self::Ok | Self::NotRun | Self::NotAskedFor)
    }
}

impl Report {
    /// Writes report.json and report.md into `folder`.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<[PathBuf; 2]> {
        let json = without_names(&(serde_json::to_string_pretty(self)? + "\n"), folder);
        Ok([write(&folder.join("report.md"), self.page())?, write(&folder.join("report.json"), json)?])
    }

    /// How many parts ended how, in a line.
    pub fn summary(&self) -> String {
        let count = |outcome: Outcome| self.parts.iter().filter(|part| part.outcome == outcome).count();
        let all =
            [Outcome::Ok, Outcome::Wrong, Outcome::Failed, Outcome::NotReached, Outcome::NotRun, Outcome::NotAskedFor];
        let counts: Vec<String> = all
            .into_iter()
            .filter(|outcome| count(*outcome) > 0)
            .map(|outcome| format!("{} {}", count(outcome), outcome.words()))
            .collect();
        format!("{} parts in {:.0} s: {}", self.parts.len(), self.secs, counts.join(", "))
    }

    fn page(&self) -> String {
        let is_whole = self.parts.iter().all(|part| part.outcome != Outcome::NotAskedFor);
        let verdict = match (self.all_right, is_whole) {
            (true, true) => "Everything that can run here ran, and is right.",
            (true, false) => "What was asked for ran, and is right.",
            (false, _) => "**Something is not right.**",
        };
        let mut page = format!("# Tercet on this machine's GPUs\n\n{verdict} {}.\n\n", self.summary());
        if self.small {
            page += "Toy sizes: this shows that the test works, and says nothing of a card.\n\n";
        }
        page += "| part | question | outcome | took |\n|---|---|---|---|\n";
        for part in &self.parts {
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
        for part in &self.parts {
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
            page += part.lines.join("\n").trim_end();
            page.push('\n');
        }
        let made: Vec<String> = self.cpu_numbers.iter().map(|(name, value)| format!("{name} {value}")).collect();
        _ = writeln!(page, "\nThe CPU's numbers: {}.", made.join("; "));
        page
    }
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
    use super::*;

    fn done(name: &'static str, outcome: Outcome, why: &str) -> Done {
        let why = if why.is_empty() { Vec::new() } else { vec![why.to_owned()] };
        let (figures, lines) = (Map::new(), vec!["a line".to_owned()]);
        Done { name, question: "?", outcome, why, left_out: Vec::new(), secs: 1.0, limit_secs: 2, figures, lines }
    }

    #[test]
    fn a_page_says_what_is_wrong_and_what_did_not_run() {
        let parts = vec![
            done("a", Outcome::Ok, ""),
            done("b", Outcome::Wrong, "off by 3"),
            done("c", Outcome::NotReached, "the time was over"),
        ];
        let report = Report {
            format: 1,
            tercet: "0",
            small: true,
            all_right: false,
            began: 0,
            secs: 3.0,
            shape: "a toy",
            cpu_numbers: [("by".to_owned(), "hand".to_owned())].into(),
            parts,
        };
        let page = report.page();
        for words in ["Something is not right", "1 ok, 1 WRONG, 1 NOT REACHED", "**off by 3**", "by hand", "Toy sizes"]
        {
            assert!(page.contains(words), "{words}: {page}");
        }
        assert!(!Outcome::NotReached.is_no_fault() && !Outcome::Failed.is_no_fault() && Outcome::NotRun.is_no_fault());
    }
}
