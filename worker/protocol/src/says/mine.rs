//! What `mine` writes beside its rows: what was drawn, and what was not and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A mining, as a whole and by parts. It depends on the input alone, not on ranks or time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MineReport {
    /// Checksum of the model's weights.
    pub weights: String,
    /// Checksum of the passages that were searched.
    pub corpus: String,
    /// How many they are.
    pub passages: u64,
    /// What they were ranked by.
    pub ranking: String,
    /// Ranks that were drawn from: from this, exclusive, to that.
    pub range: [usize; 2],
    /// Negatives that a row wants.
    pub negatives: usize,
    /// All rows.
    pub all: Mined,
    /// By file, or folder.
    pub by_file: BTreeMap<String, Mined>,
    /// By the rows' own name of their language; `und` for those without.
    pub by_language: BTreeMap<String, Mined>,
}

/// What became of some rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mined {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that were left out, because too few negatives were left.
    pub dropped: u64,
    /// Rows that got passages from beyond the range.
    pub widened: u64,
    /// Written rows with fewer negatives than are wanted.
    pub short: u64,
    /// Written rows without any.
    pub without: u64,
    /// Negatives that were written.
    pub negatives: u64,
    /// Passages that were looked at and are none, by the first reason.
    pub removed: BTreeMap<String, u64>,
    /// Ranks of the negatives, from 1, known answers and copies not counted.
    pub ranks: Option<Quantiles>,
    /// Negatives by tenths of the range, and, last, from beyond it.
    pub ranks_by_tenth: Vec<u64>,
    /// Scores of the negatives.
    pub scores: Option<Quantiles>,
    /// Scores of the positives, where they were computed.
    pub positive_scores: Option<Quantiles>,
    /// How often the range has answers that only other rows know.
    pub known_elsewhere: KnownElsewhere,
}

/// Values in order: the least, a tenth, a quarter, half, three quarters, nine tenths, the greatest. Scores are right to
/// two digits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The least.
    pub min: f64,
    /// A tenth is not above it.
    pub p10: f64,
    /// A quarter.
    pub p25: f64,
    /// Half.
    pub p50: f64,
    /// Three quarters.
    pub p75: f64,
    /// Nine tenths.
    pub p90: f64,
    /// The greatest.
    pub max: f64,
}

/// Answers that a row does not know itself, and other rows of the same query do: what could have been drawn wrongly if
/// they did not. It says something of the answers that nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KnownElsewhere {
    /// Rows of which others know more.
    pub rows: u64,
    /// Ranks of the range that were looked at for them.
    pub ranks: u64,
    /// How many of these were such answers.
    pub answers: u64,
    /// That as a share; null without such rows.
    pub rate: Option<f64>,
}
