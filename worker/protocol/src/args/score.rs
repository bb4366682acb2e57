//! `score`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::search::{at_least_one, bytes};
use super::texts::{PrecisionArg, text_len};
use super::{DeviceArg, Prefixes};
use crate::words::Words;

/// Which pairs of query and positive are judged by which model, among what, and where the judgments go.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ScoreArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Training rows: JSON Lines (plain, .gz or .zst), Parquet or Arrow
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub rows: Vec<PathBuf>,
    /// The folder for a file of each, which has a line of scores for each row; what was begun there is gone on with
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The folder of an index that this model made: also count its passages that score higher than a positive
    #[arg(long, value_name = "DIR", conflicts_with_all = ["passage_prefix", "passage_max_len"])]
    pub index: Option<PathBuf>,
    /// How many of those are counted at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one, requires = "index")]
    pub top: usize,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut; 8192, or the index's
    #[arg(long, value_name = "TOKENS", value_parser = text_len)]
    pub passage_max_len: Option<usize>,
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

impl ScoreArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words
            .value("--model", &self.model)
            .each("--rows", &self.rows)
            .value("--out", &self.out)
            .each("--index", &self.index)
            .each("--top", self.index.as_ref().map(|_| self.top.to_string()));
        self.prefixes
            .add_to(words)
            .shown("--query-max-len", self.query_max_len)
            .each("--passage-max-len", self.passage_max_len.map(|len| len.to_string()))
            .shown("--memory", self.memory)
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .all()
    }
}
