//! `index`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::encode::name_of;
use super::texts::{PrecisionArg, text_len};
use super::{DeviceArg, PoolingArg};
use crate::words::Words;

/// Which corpus becomes an index, by which model, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct IndexArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Passages, one {"_id": …, "title": …, "text": …} a line (plain, .gz or .zst), or Parquet or Arrow; or BEIR
    /// folders
    #[arg(long, value_name = "FILE|FOLDER", required = true, num_args = 1..)]
    pub corpus: Vec<PathBuf>,
    /// The folder of the index; one that was begun with the same is gone on with
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What can be searched by later, with commas between
    #[arg(long, value_enum, value_delimiter = ',', value_name = "HEADS", default_value = "dense,lexical,bm25")]
    pub heads: Vec<IndexHead>,
    /// How vectors and weights are stored
    #[arg(long, value_enum, default_value_t)]
    pub store: StoreArg,
    /// Stands before every passage, with a space between; default: the passage prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
    /// Tokens of a passage at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub passage_max_len: usize,
    /// Insert a CLS every N tokens and average them for the dense vector (long texts)
    #[arg(long, value_name = "N")]
    pub mcls: Option<NonZeroUsize>,
    /// How the dense head reads a text; default: as the model directory says
    #[arg(long, value_enum)]
    pub pooling: Option<PoolingArg>,
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

/// What an index can be searched by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IndexHead {
    /// Dense vectors
    Dense,
    /// The model's weights of tokens
    Lexical,
    /// BM25, over the model's tokens
    Bm25,
    /// BM25, over words
    Words,
}

/// The type of an index's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StoreArg {
    /// bfloat16, 2 bytes a number
    #[default]
    Bf16,
    /// 32-bit floats
    Fp32,
}

impl IndexArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let heads: Vec<String> = self.heads.iter().map(name_of).collect();
        words
            .value("--model", &self.model)
            .each("--corpus", &self.corpus)
            .value("--out", &self.out)
            .value("--heads", heads.join(","))
            .value("--store", name_of(&self.store))
            .each("--passage-prefix", &self.passage_prefix)
            .shown("--passage-max-len", self.passage_max_len)
            .each("--mcls", self.mcls.map(|n| n.to_string()))
            .each("--pooling", self.pooling.as_ref().map(name_of))
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .flag("--dry-run", self.dry_run)
            .all()
    }
}
