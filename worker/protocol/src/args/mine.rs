//! `mine`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::Args;

use super::texts::{PrecisionArg, text_len};
use super::{DeviceArg, Prefixes};
use crate::words::Words;

/// For which rows negatives are found with which model, among what, and where they go.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MineArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Training rows to find negatives for: JSON Lines (plain, .gz or .zst), Parquet or Arrow
    #[arg(long, value_name = "FILE")]
    pub rows: PathBuf,
    /// Where the rows go, with their negatives
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: PathBuf,
    /// Passages to search, one {"text": …} a line, or Parquet or Arrow; default: all passages of the rows
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Negatives per row
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub negatives: usize,
    /// Pass over the best A passages and draw from the rest of the best B
    #[arg(long, value_name = "A-B", default_value = "10-100", value_parser = rank_range)]
    pub range: RankRange,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub passage_max_len: usize,
    /// Decides, together with the row, which negatives are drawn
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
    /// Padded tokens that a rank pushes through the encoder at a time: fewer need less memory
    #[arg(long, value_name = "TOKENS", default_value_t = 8192)]
    pub sub_batch_tokens: usize,
    /// What ranks compute on
    #[arg(long, value_enum, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceArg,
    /// Arithmetic of the encoder
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionArg,
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

impl MineArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words
            .value("--model", &self.model)
            .value("--rows", &self.rows)
            .value("--out", &self.out)
            .each("--corpus", &self.corpus);
        self.prefixes
            .add_to(words)
            .shown("--negatives", self.negatives)
            .shown("--range", self.range)
            .shown("--query-max-len", self.query_max_len)
            .shown("--passage-max-len", self.passage_max_len)
            .shown("--seed", self.seed)
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .all()
    }
}
