//! `eval`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::search::bytes;
use super::texts::PrecisionArg;
use super::{DeviceArg, EvalChoices, Prefixes, StoreArg};
use crate::words::Words;

/// How well which model retrieves on which data, and where the figures go.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct EvalArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// BEIR-format folders (corpus.jsonl and queries.jsonl, or the same as .parquet or .arrow; qrels/SPLIT.tsv)
    #[arg(long, value_name = "FOLDER", required = true, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// A benchmark's options as a TOML file (configs/eval has some); what is typed here goes before it
    #[arg(long, value_name = "FILE.toml")]
    pub suite: Option<PathBuf>,
    /// What is evaluated, and how.
    #[command(flatten)]
    pub choices: EvalChoices,
    /// What stands before texts.
    #[command(flatten)]
    pub prefixes: Prefixes,
    /// Where the figures and the TREC run files go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the corpora's indices are kept, for another evaluation of this model; default: OUT/index, or, without
    /// --out, a temporary folder that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// The type of an index's numbers
    #[arg(long, value_enum, value_name = "TYPE", default_value = "fp32")]
    pub store: StoreArg,
    /// Insert a CLS every N tokens and average them for the dense vector (long texts)
    #[arg(long, value_name = "N")]
    pub mcls: Option<NonZeroUsize>,
    /// Also write the figures as JSON; - writes them to standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    pub json: Option<PathBuf>,
    /// Memory of a rank for queries and their lists: the more, the more queries go through an index at a time
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

impl EvalArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words.value("--model", &self.model).each("--data", &self.data).each("--suite", &self.suite);
        self.prefixes
            .add_to(self.choices.add_to(words))
            .each("--out", &self.out)
            .each("--index", &self.index)
            .value("--store", super::encode::name_of(&self.store))
            .each("--mcls", self.mcls.map(|n| n.to_string()))
            .each("--json", &self.json)
            .shown("--memory", self.memory)
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .all()
    }
}
