//! What came of it: counts by language and reason, and what was used; as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use super::caps::{Caps, Used};
use super::checks;
use super::documents::Chosen;
use super::journal::Journal;
use super::languages;
use super::outputs::corpus_of;
use super::plan::{SPLITS, Split, Stand};
use super::recipe::Recipe;
use crate::error::CurateError;
use crate::output::WholeFile;

/// `report.json`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether no question lacks.
    complete: bool,
    /// Documents whose language nobody knows.
    documents_of_unknown_language: u64,
    /// By language.
    languages: BTreeMap<String, OfLanguage>,
}

#[derive(Debug, Serialize)]
struct OfLanguage {
    documents: u64,
    too_short: u64,
    too_long: u64,
    /// Those that are taken: to ask about, and for the corpus.
    taken: usize,
    /// Those that were asked about, or are to be.
    asked: u64,
    /// Questions by split.
    questions: BTreeMap<&'static str, u64>,
    /// Those that lack, likewise.
    lacking: BTreeMap<&'static str, u64>,
    /// Documents of the folder for evaluation.
    corpus: usize,
    /// Answers that did not pass, by reason.
    refused: BTreeMap<String, u64>,
    /// What the server said of the first request that it refused.
    #[serde(skip)]
    server_said: Option<String>,
    /// Whether there is a list of pronouns.
    pronouns_checked: bool,
}

/// `costs.json`.
#[derive(Debug, Serialize)]
struct Costs {
    /// What was used, in all runs with this folder.
    used: Used,
    /// The part of it that was sent and of which nothing came back, with all that it can have used.
    of_it_without_answer: Used,
    price_in: f64,
    price_out: f64,
    cost: f64,
}

impl Report {
    /// Of how languages stand.
    pub fn new(recipe: &Recipe, chosen: &Chosen, stands: &[Stand<'_>]) -> Self {
        let of = |stand: &Stand<'_>| {
            let language = stand.language;
            let mut refused = BTreeMap::new();
            for (_, answer) in &stand.refused {
                *refused.entry(answer.reason.to_string()).or_default() += 1;
            }
            let count = |split: Split| stand.questions.iter().filter(|(of, ..)| *of == split).count() as u64;
            let is_evaluated = count(Split::Dev) + count(Split::Test) > 0;
            let of_language = OfLanguage {
                documents: language.read,
                too_short: language.too_short,
                too_long: language.too_long,
                taken: language.documents.len(),
                asked: stand.asked,
                questions: SPLITS.iter().map(|&split| (split.name(), count(split))).collect(),
                lacking: SPLITS.iter().map(|&split| (split.name(), stand.lacking[split as usize])).collect(),
                corpus: if is_evaluated { corpus_of(recipe, stand).len() } else { 0 },
                refused,
                server_said: {
                    let mut of_server =
                        stand.refused.iter().filter(|(_, a)| a.reason.to_string() == "refused_by_server");
                    of_server.next().map(|(_, answer)| answer.text.clone())
                },
                pronouns_checked: recipe.checks.no_pronouns && checks::has_list(&languages::family(&language.name)),
            };
            (language.name.clone(), of_language)
        };
        let complete = stands.iter().all(|stand| stand.lacking == [0; 3]);
        Self { complete, documents_of_unknown_language: chosen.unknown, languages: stands.iter().map(of).collect() }
    }

    /// Questions that are there, and those that are wanted.
    pub fn questions(&self) -> (u64, u64) {
        let sum = |of: fn(&OfLanguage) -> &BTreeMap<&'static str, u64>| -> u64 {
            self.languages.values().flat_map(|language| of(language).values()).sum()
        };
        let there = sum(|language| &language.questions);
        (there, there + sum(|language| &language.lacking))
    }

    /// Writes `report.json`, `report.txt` with the table, and `costs.json`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, out: &Path, caps: &Caps, journal: &Journal) -> Result<(), CurateError> {
        let (used, price_in, price_out) = (journal.used(), caps.price_in, caps.price_out);
        let cost = caps.cost(used).as_f64();
        let costs = Costs { used, of_it_without_answer: journal.unanswered(), price_in, price_out, cost };
        let mut file = WholeFile::create(&out.join("report.json"))?;
        file.object(self)?;
        file.finish()?;
        let mut file = WholeFile::create(&out.join("report.txt"))?;
        file.line(&self.table(caps, journal))?;
        file.finish()?;
        let mut file = WholeFile::create(&out.join("costs.json"))?;
        file.object(&costs)?;
        file.finish()
    }

    /// The same as a table.
    pub fn table(&self, caps: &Caps, journal: &Journal) -> String {
        let heads = [
            "language",
            "documents",
            "too short",
            "too long",
            "taken",
            "asked",
            "test",
            "dev",
            "train",
            "lacking",
            "corpus",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        for (name, of) in &self.languages {
            let [test, dev, train] = SPLITS.map(|split| of.questions[split.name()]);
            let numbers = [of.documents, of.too_short, of.too_long, of.taken as u64, of.asked, test, dev, train];
            let mut row = vec![name.clone()];
            row.extend(numbers.iter().chain([&of.lacking.values().sum(), &(of.corpus as u64)]).map(u64::to_string));
            // As many as there are heads.
            rows.extend(<[String; 11]>::try_from(row));
        }
        let mut said = aligned(&rows);
        for (name, of) in &self.languages {
            let reasons: Vec<String> = of.refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
            if !reasons.is_empty() {
                _ = writeln!(said, "{name}: answers that did not pass: {}", reasons.join(", "));
            }
            if let Some(why) = &of.server_said {
                _ = writeln!(said, "{name}: refused by the server, for one: HTTP {why}");
            }
            if !of.pronouns_checked {
                _ = writeln!(said, "{name}: pronouns are not looked for");
            }
        }
        if self.documents_of_unknown_language > 0 {
            _ = writeln!(said, "{} documents of a language that nobody knows", self.documents_of_unknown_language);
        }
        let (used, lost) = (journal.used(), journal.unanswered());
        _ = write!(
            said,
            "used: {} requests, {} tokens in, {} out, cost {}",
            used.requests,
            used.tokens_in,
            used.tokens_out,
            caps.cost(used)
        );
        if lost.requests > 0 {
            let tokens = lost.tokens();
            _ = write!(said, " (of it {} requests without an answer, at most {tokens} tokens)", lost.requests);
        }
        said
    }
}

/// Columns, the first to the left and the others to the right.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut lines = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            _ = match column {
                0 => write!(lines, "{cell:<width$}"),
                _ => write!(lines, "  {cell:>width$}"),
            };
        }
        lines.push('\n');
    }
    lines
}
