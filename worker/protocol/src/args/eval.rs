//! `eval`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::texts::{PrecisionArg, text_len};
use super::{DeviceArg, Prefixes};
use crate::words::Words;

/// How well which model retrieves on which data, and where the figures go.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EvalArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// BEIR-format folders (corpus.jsonl and queries.jsonl, or the same as .parquet or .arrow; qrels/SPLIT.tsv)
    #[arg(long, value_name = "FOLDER", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Which judgments to take: qrels/SPLIT.tsv
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,
    /// Keep the document that has the query's own id in its list; it is left out otherwise, as in BEIR's own evaluation
    #[arg(long)]
    pub keep_identical_ids: bool,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Where the TREC run files go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tokens of a query at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = text_len)]
    pub query_max_len: usize,
    /// Tokens of a passage at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub passage_max_len: usize,
    /// Insert a CLS every N tokens and average them for the dense vector (long texts)
    #[arg(long, value_name = "N")]
    pub mcls: Option<NonZeroUsize>,
    /// Also write the figures as JSON; - writes them to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
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

impl EvalArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words
            .value("--model", &self.model)
            .each("--data", &self.data)
            .value("--split", &self.split)
            .flag("--keep-identical-ids", self.keep_identical_ids);
        self.prefixes
            .add_to(words)
            .each("--out", &self.out)
            .shown("--query-max-len", self.query_max_len)
            .shown("--passage-max-len", self.passage_max_len)
            .each("--mcls", self.mcls.map(|n| n.to_string()))
            .each("--json", &self.json)
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .all()
    }
}
