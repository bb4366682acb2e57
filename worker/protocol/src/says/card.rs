//! `report.json` of `tercet-test-gpu`, which `tercet plan --measured` reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bench_report;
use super::probe::Attention;

/// The number of the report's form; another number is another form.
pub const FORMAT: u32 = 2;

/// The part that says what the machine is.
pub const DEVICE: &str = "device";
/// The part that times attention.
pub const ATTENTION: &str = "attention";
/// The part that times exchange between cards.
pub const COLLECTIVES: &str = "collectives";
/// The part that times steps.
pub const SPEED: &str = "speed";

/// The whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// The program's version.
    pub tercet: String,
    /// Toys: the figures say nothing of a card.
    pub small: bool,
    /// Everything that could run here did, and is right.
    pub all_right: bool,
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// What it took.
    pub secs: f64,
    /// The name of the model whose speed was measured.
    pub shape: String,
    /// Its config.json.
    pub config: Map<String, Value>,
    /// The steps that were timed.
    pub timed: Timed,
    /// How the numbers were made that a GPU's were compared with.
    pub cpu_numbers: BTreeMap<String, String>,
    /// In order.
    pub parts: Vec<Part>,
}

/// Sizes of the steps that were timed, of a model with all heads in bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// Tokens of a query at most; it is as long as a passage where that is shorter.
    pub query_len: usize,
    /// Passages of a query.
    pub group_size: usize,
    /// Tokens of a sub-batch at most.
    pub sub_batch_tokens: usize,
}

/// A part's outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// As `--only` names it.
    pub name: String,
    /// What it answers.
    pub question: String,
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
    /// What it found.
    pub figures: Figures,
}

/// How a part ended. Only the first counts as passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// A part's figures: those that a plan is made with, and others by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Found by [`DEVICE`]: the first card, as the driver calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// Found by [`ATTENTION`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<Attention>,
    /// Found by [`COLLECTIVES`]: bytes per second of a large sum over the machine's cards, as each rank measured it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub all_reduce_bytes_per_sec: Vec<f64>,
    /// What `tercet bench` said; of [`SPEED`] by the tokens of a text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bench: BTreeMap<String, bench_report::Report>,
    /// For people.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl Report {
    /// What a part found, if the report has the part.
    pub fn figures(&self, part: &str) -> Option<&Figures> {
        self.parts.iter().find(|own| own.name == part).map(|own| &own.figures)
    }
}
