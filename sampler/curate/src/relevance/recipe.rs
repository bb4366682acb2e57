//! `[relevance]` of a curation's recipe.

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which model judges, and what it judges by.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelevanceRecipe {
    /// The model's folder, in the Hugging Face layout.
    pub model: PathBuf,
    /// Pairs whose dense vectors have a lower cosine go; C-Pack takes 0.43 with the model that it scores by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// Pairs go whose passage is not among the best beside random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Ranks to start; by default as many as `tercet score` starts.
    #[serde(default, skip_serializing)]
    pub ranks: Option<NonZeroUsize>,
    /// A hostfile: where they run. By default here, or in the Slurm allocation.
    #[serde(default, skip_serializing)]
    pub hosts: Option<PathBuf>,
    /// What they compute on: auto, cuda or cpu.
    #[serde(default = "auto")]
    pub device: String,
    /// The encoder's arithmetic: auto, fp32 or bf16.
    #[serde(default = "auto")]
    pub precision: String,
    /// Stands before each query, with a space between; by default the query prompt of the model's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_prefix: Option<String>,
    /// The same before each passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passage_prefix: Option<String>,
    /// Tokens of a query at most; longer ones are cut.
    #[serde(default = "usual_len")]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut.
    #[serde(default = "usual_len")]
    pub passage_max_len: usize,
    /// Tokens that a rank pushes through the encoder at a time.
    #[serde(default = "usual_sub_batch")]
    pub sub_batch_tokens: usize,
}

/// The consistency filter.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// Random passages, of all rows; E5 takes a million.
    #[serde(default = "million")]
    pub passages: NonZeroU64,
    /// The number of best passages that a pair's must be among; E5 takes 2.
    #[serde(default = "two")]
    pub top: NonZeroUsize,
}

fn auto() -> String {
    "auto".into()
}

fn usual_len() -> usize {
    512
}

fn usual_sub_batch() -> usize {
    8192
}

fn million() -> NonZeroU64 {
    NonZeroU64::new(1_000_000).unwrap_or(NonZeroU64::MIN)
}

fn two() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(1)
}

impl RelevanceRecipe {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// Its keys contradict each other.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((format!("relevance.{key}"), reason));
        if self.min_score.is_none() && self.consistency.is_none() {
            return wrong("model", "nothing is asked of it: set min_score, consistency, or both".into());
        }
        if let Some(score) = self.min_score.filter(|score| !(-1.0..=1.0).contains(score)) {
            return wrong("min_score", format!("{score} is no cosine, which is -1 to 1"));
        }
        for (key, value, known) in [
            ("device", &self.device, ["auto", "cuda", "cpu"]),
            ("precision", &self.precision, ["auto", "fp32", "bf16"]),
        ] {
            if !known.contains(&value.as_str()) {
                return wrong(key, format!("{value:?} is none of {}", known.join(", ")));
            }
        }
        for (key, len) in [("query_max_len", self.query_max_len), ("passage_max_len", self.passage_max_len)] {
            if len < 3 {
                return wrong(key, format!("{len}: two special tokens and one of the text need 3"));
            }
        }
        match self.sub_batch_tokens {
            0 => wrong("sub_batch_tokens", "0 is no number of tokens".into()),
            _ => Ok(()),
        }
    }

    /// The words behind `tercet index`, of the passages in the file `corpus`.
    pub(super) fn index_words(&self, base: &Path, corpus: &Path, out: &Path) -> Vec<OsString> {
        let mut words = Words(self.common(base));
        words.add("--corpus", corpus);
        words.add("--out", out);
        words.add("--heads", "dense");
        words.add("--store", "fp32");
        self.passage_words(&mut words);
        words.0
    }

    /// The words behind `tercet score`, of the rows in the files `rows`.
    pub(super) fn score_words(&self, base: &Path, rows: &[PathBuf], index: Option<&Path>, out: &Path) -> Vec<OsString> {
        let mut words = Words(self.common(base));
        rows.iter().for_each(|rows| words.add("--rows", rows));
        words.add("--out", out);
        words.add("--query-max-len", self.query_max_len.to_string());
        self.query_prefix.iter().for_each(|prefix| words.add("--query-prefix", prefix));
        match (index, self.consistency) {
            (Some(index), Some(consistency)) => {
                words.add("--index", index);
                words.add("--top", consistency.top.to_string());
            }
            _ => self.passage_words(&mut words),
        }
        words.0
    }

    fn passage_words(&self, words: &mut Words) {
        words.add("--passage-max-len", self.passage_max_len.to_string());
        self.passage_prefix.iter().for_each(|prefix| words.add("--passage-prefix", prefix));
    }

    fn common(&self, base: &Path) -> Vec<OsString> {
        let mut words = Words(Vec::new());
        words.add("--model", base.join(&self.model));
        words.add("--device", &self.device);
        words.add("--precision", &self.precision);
        words.add("--sub-batch-tokens", self.sub_batch_tokens.to_string());
        self.ranks.iter().for_each(|ranks| words.add("--ranks", ranks.to_string()));
        self.hosts.iter().for_each(|hosts| words.add("--hosts", base.join(hosts)));
        words.0
    }
}

/// The words of a command line.
struct Words(Vec<OsString>);

impl Words {
    /// An option and its value in one word, so that the value may begin with a dash.
    fn add(&mut self, name: &str, value: impl Into<OsString>) {
        let mut word = OsString::from(format!("{name}="));
        word.push(value.into());
        self.0.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str) -> Result<RelevanceRecipe, String> {
        tercet_configs::from_toml(text)
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, key, reason) in [
            ("", "relevance.model", "nothing is asked of it"),
            ("min_score = 43", "relevance.min_score", "43 is no cosine"),
            ("min_score = nan", "relevance.min_score", "NaN is no cosine"),
            ("min_score = 0.4\ndevice = \"gpu\"", "relevance.device", "\"gpu\" is none of auto, cuda, cpu"),
            ("min_score = 0.4\npassage_max_len = 2", "relevance.passage_max_len", "need 3"),
        ] {
            let (found, said) = recipe(&format!("model = \"m\"\n{text}")).unwrap().check().unwrap_err();
            assert_eq!(found, key);
            assert!(said.contains(reason), "{said}");
        }
        for (text, reason) in
            [("consistency = { top = 0 }", "top"), ("consistency = { tops = 1 }", "tops"), ("minimum = 1", "minimum")]
        {
            assert!(recipe(&format!("model = \"m\"\n{text}")).unwrap_err().contains(reason));
        }
        recipe("model = \"m\"\nconsistency = {}").unwrap().check().unwrap();
    }

    #[test]
    fn ranks_and_hosts_are_no_part_of_what_rows_depend_on() {
        let written =
            |text: &str| toml::to_string(&recipe(&format!("model = \"m\"\nmin_score = 0.5\n{text}")).unwrap());
        assert_eq!(written("ranks = 4\nhosts = \"h\""), written(""));
        assert_ne!(written("precision = \"bf16\""), written(""));
    }
}
