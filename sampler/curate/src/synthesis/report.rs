//! What came of it: counts by language and reason, and what was used; as JSON and as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::caps::{Caps, Cost, Used};
use super::checks;
use super::documents::Chosen;
use super::journal::Ledger;
use super::lacking;
use super::languages;
use super::plan::{SPLITS, Split, Stand};
use super::recipe::Recipe;
use crate::error::CurateError;
use crate::output::WholeFile;

/// Counts, for programs. It is removed before anything else is replaced and written last: where it is, all that lies
/// there is one run's work.
pub const REPORT: &str = "report.json";
/// The same to read.
const TABLE: &str = "report.txt";

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
    /// Why questions lack, if nothing but documents is missing.
    #[serde(skip)]
    why_lacking: Option<String>,
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
    price_in: Option<f64>,
    price_out: Option<f64>,
    /// None without prices.
    cost: Option<f64>,
}

impl Report {
    /// How languages stand.
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
                corpus: if is_evaluated { stand.corpus(recipe).len() } else { 0 },
                refused,
                why_lacking: lacking::why(stand, recipe),
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

    /// Writes `report.txt` with the table and, last of all that a run writes, `report.json`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, out: &Path, caps: &Caps, ledger: &Ledger) -> Result<(), CurateError> {
        let mut file = WholeFile::create(&out.join(TABLE))?;
        file.line(&self.table(caps, ledger))?;
        file.finish()?;
        let mut file = WholeFile::create(&out.join(REPORT))?;
        file.object(self)?;
        file.finish()
    }

    /// The questions that the report in `out` counts. Without a report what lies there is no run's work.
    pub fn questions_in(out: &Path) -> u64 {
        let report = std::fs::read(out.join(REPORT)).ok();
        let report: Value = report.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let languages = report["languages"].as_object().into_iter().flat_map(|all| all.values());
        let counts = languages.filter_map(|language| language["questions"].as_object()).flat_map(|of| of.values());
        counts.filter_map(Value::as_u64).sum()
    }

    /// The same as a table.
    pub fn table(&self, caps: &Caps, ledger: &Ledger) -> String {
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
            if let Some(why) = &of.why_lacking {
                _ = writeln!(said, "{name}: {why}");
            }
            if !of.pronouns_checked {
                _ = writeln!(said, "{name}: pronouns are not looked for");
            }
        }
        if self.documents_of_unknown_language > 0 {
            _ = writeln!(said, "{} documents of a language that nobody knows", self.documents_of_unknown_language);
        }
        let (used, lost) = (ledger.used(), ledger.unanswered());
        _ = write!(
            said,
            "used: {} requests, {} tokens in, {} out, {}",
            used.requests,
            used.tokens_in,
            used.tokens_out,
            caps.cost_in_words(used)
        );
        if lost.requests > 0 {
            let tokens = lost.tokens();
            _ = write!(said, " (of it {} requests without an answer, at most {tokens} tokens)", lost.requests);
        }
        if ledger.excess() > 1.0 {
            let times = ledger.excess();
            _ = write!(said, "\nan answer used {times:.2} times what was reserved for it: so much is reserved since");
        }
        said
    }
}

/// Writes `costs.json`.
///
/// # Errors
/// The operating system's.
pub fn write_costs(out: &Path, caps: &Caps, ledger: &Ledger) -> Result<(), CurateError> {
    let (used, price_in, price_out) = (ledger.used(), caps.price_in, caps.price_out);
    let cost = caps.cost(used).map(Cost::as_f64);
    let mut file = WholeFile::create(&out.join("costs.json"))?;
    file.object(&Costs { used, of_it_without_answer: ledger.unanswered(), price_in, price_out, cost })?;
    file.finish()
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
