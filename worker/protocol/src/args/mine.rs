//! `mine`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::encode::name_of;
use super::search::{Lists, Ranking, at_least_one, at_least_zero, bytes, share};
use super::texts::{PrecisionArg, text_len};
use super::{DeviceArg, Prefixes};
use crate::words::Words;

/// For which rows negatives are found with which model, among what, and where they go.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct MineArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Training rows to find negatives for: JSON Lines (plain, .gz or .zst), Parquet or Arrow
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub rows: Vec<PathBuf>,
    /// Where the rows go, with their negatives: one file for all, or a folder for a file of each
    #[arg(long, value_name = "FILE.jsonl|FOLDER")]
    pub out: PathBuf,
    /// The folder of an index to search, which this model made; default: an index of --corpus, made for this
    #[arg(long, value_name = "DIR", conflicts_with_all = ["corpus", "passage_prefix"])]
    pub index: Option<PathBuf>,
    /// Passages to search, one {"text": …} a line, or Parquet or Arrow; default: all passages of the rows
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub corpus: Vec<PathBuf>,
    /// What passages are ranked by
    #[arg(long, value_enum, value_name = "RANKING", default_value = "dense")]
    pub ranking: Ranking,
    /// How lists are made.
    #[command(flatten)]
    pub lists: Lists,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Negatives per row
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub negatives: usize,
    /// Pass over the best A passages and draw from the rest of the best B
    #[arg(long, value_name = "A-B", default_value = "10-100", value_parser = rank_range)]
    pub range: RankRange,
    /// How to draw from the range
    #[arg(long, value_enum, default_value_t)]
    pub draw: Draw,
    /// What to do for a row of which the filters leave too few
    #[arg(long, value_enum, default_value_t)]
    pub few: Few,
    /// What is no negative.
    #[command(flatten)]
    pub filters: Filters,
    /// Write the scores as pos_scores and neg_scores
    #[arg(long)]
    pub write_scores: bool,
    /// The model whose scores are written, by all its heads; default: those of the ranking
    #[arg(long, value_name = "DIR", requires = "write_scores")]
    pub teacher: Option<PathBuf>,
    /// What written scores are divided by, as in training
    #[arg(long, value_name = "T", default_value_t = 0.02, value_parser = above_zero)]
    pub temperature: f64,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut. With --index it is of the teacher's alone
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub passage_max_len: usize,
    /// Decides, together with the row, which negatives are drawn
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Memory of a rank for queries and their lists: the more, the more queries go through the index at a time
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = bytes)]
    pub memory: u64,
    /// Tokens that a rank pushes through the encoder at a time: fewer need less memory
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
    /// What ranks compute on
    #[arg(long, value_enum, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceArg,
    /// Arithmetic of the encoder
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
}

/// Which passages of a list are no negatives, besides known answers.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct Filters {
    /// Leave out what shares this part of its letters' 5-grams, or more, with a positive of the row
    #[arg(long, value_name = "JACCARD", value_parser = share)]
    pub near_duplicates: Option<f64>,
    /// Leave out what has one of the row's `answers` in it
    #[arg(long)]
    pub answers: bool,
    /// Leave out what scores above this share of the row's lowest positive
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub max_share: Option<f64>,
    /// Leave out what does not score this much below the row's lowest positive
    #[arg(long, value_name = "SCORE", value_parser = at_least_zero)]
    pub margin: Option<f64>,
    /// Leave out what scores above
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub max_score: Option<f64>,
    /// Leave out what scores below
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub min_score: Option<f64>,
    /// Leave out what is, by its look, in another language than the row's positives
    #[arg(long)]
    pub same_language: bool,
    /// Passages of a document at most; an `_id` names it up to its first #
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub per_document: Option<usize>,
}

/// How negatives are drawn from what the filters leave of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Draw {
    /// Each alike, by a hash of seed and row
    #[default]
    Uniform,
    /// The best
    Top,
}

/// What becomes of a row of which the filters leave fewer than are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Few {
    /// The next ones beyond the range are taken, as far as the list goes
    #[default]
    Widen,
    /// It gets what there is
    Keep,
    /// It is left out
    Drop,
}

/// Ranks `skip..depth` of a list, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RankRange {
    /// Ranks that are passed over.
    pub skip: usize,
    /// Ranks that are looked at.
    pub depth: usize,
}

impl fmt::Display for RankRange {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.skip, self.depth)
    }
}

fn rank_range(text: &str) -> Result<RankRange, String> {
    let ends = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match ends {
        Some((skip, depth)) if skip < depth => Ok(RankRange { skip, depth }),
        Some((skip, depth)) => Err(format!("nothing is left between {skip} and {depth}: the second must be larger")),
        None => Err("expected two ranks, e.g. 10-100".into()),
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    at_least_zero(text).ok().filter(|number| *number > 0.0).ok_or_else(|| format!("{text:?} is no number above 0"))
}

impl MineArgs {
    /// Whether `--out` is meant as a folder: it is one, or its name has no ending.
    pub fn writes_a_folder(&self) -> bool {
        let ends_with_slash = self.out.as_os_str().as_encoded_bytes().ends_with(b"/");
        self.out.is_dir() || ends_with_slash || self.out.extension().is_none()
    }

    /// The path of the report.
    pub fn report(&self) -> PathBuf {
        match self.writes_a_folder() {
            true => self.out.join("mine.json"),
            false => self.beside(".mine.json"),
        }
    }

    /// The path of its picture.
    pub fn picture(&self) -> PathBuf {
        self.report().with_extension("svg")
    }

    /// The folder of the index that is made for this, and removed at the end.
    pub fn own_index(&self) -> PathBuf {
        match self.writes_a_folder() {
            true => self.out.join("mine.index"),
            false => self.beside(".index"),
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.out.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words
            .value("--model", &self.model)
            .each("--rows", &self.rows)
            .value("--out", &self.out)
            .each("--index", &self.index)
            .each("--corpus", &self.corpus)
            .value("--ranking", name_of(&self.ranking));
        let words = self
            .prefixes
            .add_to(self.lists.add_to(words))
            .shown("--negatives", self.negatives)
            .shown("--range", self.range)
            .value("--draw", name_of(&self.draw))
            .value("--few", name_of(&self.few));
        self.filters
            .add_to(words)
            .flag("--write-scores", self.write_scores)
            .each("--teacher", &self.teacher)
            .shown("--temperature", self.temperature)
            .shown("--query-max-len", self.query_max_len)
            .shown("--passage-max-len", self.passage_max_len)
            .shown("--seed", self.seed)
            .shown("--memory", self.memory)
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .all()
    }
}

impl Filters {
    fn add_to(&self, words: Words) -> Words {
        let number = |number: Option<f64>| number.map(|number| number.to_string());
        words
            .each("--near-duplicates", number(self.near_duplicates))
            .flag("--answers", self.answers)
            .each("--max-share", number(self.max_share))
            .each("--margin", number(self.margin))
            .each("--max-score", number(self.max_score))
            .each("--min-score", number(self.min_score))
            .flag("--same-language", self.same_language)
            .each("--per-document", self.per_document.map(|count| count.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    fn what_is_written_lies_beside_a_file_and_in_a_folder() {
        let of = |out: &str| match Command::parse(["mine", "--model", "m", "--rows", "r", "--out", out].map(Into::into))
        {
            Ok(Command::Mine(args)) => args,
            other => panic!("{other:?}"),
        };
        let file = of("a/b.jsonl.gz");
        assert!(!file.writes_a_folder() && !of("b.parquet").writes_a_folder());
        assert_eq!(file.report(), PathBuf::from("a/b.jsonl.gz.mine.json"));
        assert_eq!(file.picture(), PathBuf::from("a/b.jsonl.gz.mine.svg"));
        assert_eq!(file.own_index(), PathBuf::from("a/b.jsonl.gz.index"));
        for folder in ["a", "a.d/"] {
            let folder = of(folder);
            assert!(folder.writes_a_folder());
            assert_eq!(folder.report(), folder.out.join("mine.json"));
            assert_eq!(folder.own_index(), folder.out.join("mine.index"));
        }
    }
}
