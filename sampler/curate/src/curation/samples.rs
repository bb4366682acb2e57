//! Pairs to look at: for each reason those whose hashes are the smallest, whoever reads them in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// Pairs of each reason.
const EACH: usize = 200;
/// Characters of a text that are shown.
const SHOWN: usize = 2_000;

/// A pair to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sample {
    /// What decides whether it is among them.
    hash: u64,
    /// The source's name.
    source: String,
    /// File and line.
    at: String,
    /// The query; of a record without a pair, none.
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    /// The passage, or what the record shows; the beginning of it.
    passage: String,
}

/// A sample as it is written to be looked at.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    source: &'a str,
    at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    passage: &'a str,
}

impl Sample {
    /// The sample of the text of `source` at `at`.
    pub fn new(source: &str, at: String, query: Option<&str>, passage: &str) -> Self {
        let cut = |text: &str| match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        let hash = hash(query, passage);
        Self { hash, source: source.to_owned(), at, query: query.map(cut), passage: cut(passage) }
    }
}

fn hash(query: Option<&str>, passage: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(query.unwrap_or_default().as_bytes()).update(&[0]).update(passage.as_bytes());
    let mut first = [0; 8];
    hasher.finalize_xof().fill(&mut first);
    u64::from_le_bytes(first)
}

impl Sample {
    /// Without what only chooses it.
    pub fn shown(&self) -> Shown<'_> {
        let Self { source, at, query, passage, .. } = self;
        Shown { source, at, query: query.as_deref(), passage }
    }
}

/// Samples by reason.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Samples(pub BTreeMap<Reason, BTreeSet<Sample>>);

impl Samples {
    /// Adds one, if it is among those of the smallest hashes. `sample` is made only then.
    pub fn add(&mut self, reason: &Reason, query: Option<&str>, passage: &str, sample: impl FnOnce() -> Sample) {
        if let Some(full) = self.0.get(reason).filter(|there| there.len() >= EACH)
            && full.last().is_some_and(|last| hash(query, passage) > last.hash)
        {
            return;
        }
        self.insert(reason, sample());
    }

    /// Adds `other`'s.
    pub fn merge(&mut self, other: Self) {
        for (reason, samples) in other.0 {
            samples.into_iter().for_each(|sample| self.insert(&reason, sample));
        }
    }

    fn insert(&mut self, reason: &Reason, sample: Sample) {
        let there = self.0.entry(reason.clone()).or_default();
        there.insert(sample);
        if there.len() > EACH {
            there.pop_last();
        }
    }
}
