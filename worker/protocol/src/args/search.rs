//! `search`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use tercet_configs::{HYBRID_WEIGHTS, MemoryBudget};

use super::DeviceArg;
use super::encode::name_of;
use super::texts::{PrecisionArg, text_len};
use crate::words::Words;

/// Which queries are asked of which index, what is ranked how, and where the lists go.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct SearchArgs {
    /// Directory of the model that made the index (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The folder of the index
    #[arg(long, value_name = "DIR")]
    pub index: PathBuf,
    /// Queries, one {"_id": …, "text": …} a line (plain, .gz or .zst), or Parquet or Arrow
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// The folder for a TREC run file of each ranking
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What to rank by, with commas between; default: all that the index has, without encoding passages again
    #[arg(long, value_enum, value_delimiter = ',', value_name = "RANKINGS")]
    pub rankings: Vec<Ranking>,
    /// How lists are made.
    #[command(flatten)]
    pub lists: Lists,
    /// Stands before every query, with a space between; default: the query prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
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
    /// Measure on a part what it takes, say what all of it would take here or elsewhere, and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How long lists are, and what scores are made of.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Lists {
    /// Documents of a list at most
    #[arg(long, value_name = "N", default_value_t = Lists::default().top, value_parser = at_least_one)]
    pub top: usize,
    /// The best of the dense list that are encoded again for multi_vector and all
    #[arg(long, value_name = "N", default_value_t = Lists::default().rerank, value_parser = at_least_one)]
    pub rerank: usize,
    /// Weights of dense and lexical scores in dense_lexical
    #[arg(long, value_name = "D,L", default_value_t = Lists::default().dense_lexical_weights, value_parser = weights::<2>)]
    pub dense_lexical_weights: Weights<2>,
    /// Weights of dense, lexical and multi-vector scores in all
    #[arg(long, value_name = "D,L,M", default_value_t = Lists::default().all_weights, value_parser = weights::<3>)]
    pub all_weights: Weights<3>,
    /// What the weights of tokens are taken for in lexical and dense_lexical
    #[arg(long, value_enum, default_value_t)]
    pub lexical: LexicalArg,
    /// BM25: how soon a token that occurs again counts little
    #[arg(long, value_name = "K1", default_value_t = Lists::default().bm25_k1, value_parser = at_least_zero)]
    pub bm25_k1: f64,
    /// BM25: how far length counts, 0 to 1
    #[arg(long, value_name = "B", default_value_t = Lists::default().bm25_b, value_parser = share)]
    pub bm25_b: f64,
    /// BM25: what a document's length is
    #[arg(long, value_enum, default_value_t)]
    pub bm25_lengths: Bm25Lengths,
}

/// What documents are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Ranking {
    /// Dense vectors
    Dense,
    /// The model's weights of tokens
    Lexical,
    /// BM25, over the model's tokens
    Bm25,
    /// BM25, over words
    Bm25Words,
    /// Dense and lexical scores, over the documents of both lists
    DenseLexical,
    /// Multi-vectors, of the dense list's best
    MultiVector,
    /// All three heads, of the dense list's best
    All,
}

impl Ranking {
    /// All of them, in their order.
    pub const ALL: [Self; 7] =
        [Self::Dense, Self::Lexical, Self::Bm25, Self::Bm25Words, Self::DenseLexical, Self::MultiVector, Self::All];

    /// As it is typed, and as a run file is called.
    pub fn name(self) -> String {
        name_of(&self)
    }

    /// Whether it ranks again by what an index does not hold, the best documents of the dense list.
    pub fn encodes_again(self) -> bool {
        matches!(self, Self::MultiVector | Self::All)
    }

    /// What an index must hold for it, as the rankings by that alone.
    pub fn needs_of_an_index(self) -> &'static [Self] {
        match self {
            Self::Dense | Self::MultiVector => &[Self::Dense],
            Self::Lexical => &[Self::Lexical],
            Self::Bm25 => &[Self::Bm25],
            Self::Bm25Words => &[Self::Bm25Words],
            Self::DenseLexical | Self::All => &[Self::Dense, Self::Lexical],
        }
    }
}

/// What weights of tokens are taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LexicalArg {
    /// What they are
    #[default]
    Exact,
    /// Whole hundredths, rounded up, as in M3's published evaluation; scores are whole numbers
    Published,
}

impl fmt::Display for LexicalArg {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of(self))
    }
}

/// What BM25 takes a document's length for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bm25Lengths {
    /// Its number of tokens
    #[default]
    Exact,
    /// That, rounded as Lucene stores it in a byte
    Lucene,
}

impl fmt::Display for Bm25Lengths {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of(self))
    }
}

/// Weights of scores in a sum.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Vec<f64>")]
pub struct Weights<const N: usize>(pub [f64; N]);

impl<const N: usize> fmt::Display for Weights<N> {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|weight| weight.to_string()).join(","))
    }
}

impl Default for Lists {
    /// As if nothing were typed.
    fn default() -> Self {
        Self {
            top: 1000,
            rerank: 200,
            dense_lexical_weights: Weights([HYBRID_WEIGHTS[0], HYBRID_WEIGHTS[1]]),
            all_weights: Weights(HYBRID_WEIGHTS),
            lexical: LexicalArg::default(),
            bm25_k1: 0.9,
            bm25_b: 0.4,
            bm25_lengths: Bm25Lengths::default(),
        }
    }
}

impl<const N: usize> TryFrom<Vec<f64>> for Weights<N> {
    type Error = String;

    fn try_from(numbers: Vec<f64>) -> Result<Self, String> {
        let numbers = <[f64; N]>::try_from(numbers).map_err(|_| format!("expected {N} numbers with commas between"))?;
        if let Some(bad) = numbers.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            return Err(format!("{bad} is no number of at least 0"));
        }
        match numbers.iter().any(|weight| *weight > 0.0) {
            true => Ok(Self(numbers)),
            false => Err("one weight at least must be above 0".into()),
        }
    }
}

pub(super) fn weights<const N: usize>(text: &str) -> Result<Weights<N>, String> {
    text.split(',').map(at_least_zero).collect::<Result<Vec<f64>, String>>()?.try_into()
}

pub(super) fn at_least_zero(text: &str) -> Result<f64, String> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| format!("{text:?} is no number of at least 0"))
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    at_least_zero(text).ok().filter(|number| *number <= 1.0).ok_or_else(|| format!("{text:?} is no number from 0 to 1"))
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| format!("{text:?} is no number above 0"))
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    match MemoryBudget::parse(text) {
        Some(MemoryBudget::Bytes(bytes)) => Ok(bytes),
        _ => Err("expected bytes, or a size such as 4GiB".into()),
    }
}

impl Lists {
    pub(super) fn add_to(&self, words: Words) -> Words {
        let Lists { top, rerank, dense_lexical_weights, all_weights, lexical, bm25_k1, bm25_b, bm25_lengths } = self;
        words
            .shown("--top", top)
            .shown("--rerank", rerank)
            .shown("--dense-lexical-weights", dense_lexical_weights)
            .shown("--all-weights", all_weights)
            .shown("--lexical", lexical)
            .shown("--bm25-k1", bm25_k1)
            .shown("--bm25-b", bm25_b)
            .shown("--bm25-lengths", bm25_lengths)
    }
}

impl SearchArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let rankings: Vec<String> = self.rankings.iter().map(name_of).collect();
        let words = words
            .value("--model", &self.model)
            .value("--index", &self.index)
            .value("--queries", &self.queries)
            .value("--out", &self.out)
            .each("--rankings", rankings);
        self.lists
            .add_to(words)
            .each("--query-prefix", &self.query_prefix)
            .shown("--query-max-len", self.query_max_len)
            .shown("--memory", self.memory)
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .flag("--dry-run", self.dry_run)
            .all()
    }
}
