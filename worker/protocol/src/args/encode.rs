//! `encode`.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use tercet_configs::{Head, Pooling};

use super::DeviceArg;
use super::texts::{PrecisionArg, text_len};
use crate::words::Words;

/// Which texts a model turns into which representations, and how.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EncodeArgs {
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Texts, one a line (.txt), or records with a "text" (.jsonl, .parquet, .arrow); - reads texts from standard input
    #[arg(long, value_name = "FILE|-")]
    pub input: PathBuf,
    /// Where the representations go; the ending chooses the format
    #[arg(long, value_name = "FILE.safetensors|FILE.jsonl")]
    pub out: PathBuf,
    /// What the texts are, for the prompt in the model's folder; default: the folder's default prompt, or none
    #[arg(long = "as", value_enum, value_name = "SIDE")]
    pub side: Option<Side>,
    /// Stands before every text, with a space between, in place of the folder's prompt
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Which representations to compute, with commas between; default: all
    #[arg(long, value_parser = head(), value_delimiter = ',', value_name = "HEADS",
        default_values = Head::ALL.map(Head::name), hide_default_value = true)]
    pub heads: Vec<Head>,
    /// Tokens of a text at most; longer ones are cut
    #[arg(long, value_name = "TOKENS", default_value_t = 8192, value_parser = text_len)]
    pub max_len: usize,
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
}

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// A query
    Query,
    /// A passage
    Passage,
}

/// How the dense head reads a text: [`Pooling`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PoolingArg {
    /// The first token's hidden state
    Cls,
    /// The mean over the text's tokens
    Mean,
}

impl From<PoolingArg> for Pooling {
    fn from(typed: PoolingArg) -> Self {
        match typed {
            PoolingArg::Cls => Self::Cls,
            PoolingArg::Mean => Self::Mean,
        }
    }
}

impl EncodeArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let heads: Vec<&str> = self.heads.iter().map(|head| head.name()).collect();
        words
            .value("--model", &self.model)
            .value("--input", &self.input)
            .value("--out", &self.out)
            .each("--as", self.side.as_ref().map(name_of))
            .each("--prefix", &self.prefix)
            .value("--heads", heads.join(","))
            .shown("--max-len", self.max_len)
            .each("--mcls", self.mcls.map(|n| n.to_string()))
            .each("--pooling", self.pooling.as_ref().map(name_of))
            .shown("--sub-batch-tokens", self.sub_batch_tokens)
            .value("--device", self.device.name())
            .shown("--precision", self.precision)
            .all()
    }
}

/// Reads a head's name.
fn head() -> impl TypedValueParser<Value = Head> {
    let named = |name: String| Head::ALL.into_iter().find(|head| head.name() == name).ok_or("no head of this name");
    PossibleValuesParser::new(Head::ALL.map(Head::name)).try_map(named)
}

/// A value as it is typed.
pub(super) fn name_of<V: ValueEnum>(value: &V) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
