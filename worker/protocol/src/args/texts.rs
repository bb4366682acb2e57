//! What commands that encode texts have in common.

use std::fmt;

use clap::{Args, ValueEnum};
use tercet_configs::Precision;

use crate::words::Words;

/// What stands before texts, where it is not as the model's folder says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Prefixes {
    /// Stands before every query, with a space between; default: the query prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub query_prefix: Option<String>,
    /// Stands before every passage, with a space between; default: the passage prompt in the model's folder
    #[arg(long, value_name = "TEXT")]
    pub passage_prefix: Option<String>,
}

impl Prefixes {
    pub(crate) fn add_to(&self, words: Words) -> Words {
        words.each("--query-prefix", &self.query_prefix).each("--passage-prefix", &self.passage_prefix)
    }
}

/// The arithmetic of the encoder: [`Precision`] as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PrecisionArg {
    /// bf16 on GPUs that compute in it (compute capability 8.0 and newer), else fp32
    #[default]
    Auto,
    /// 32-bit floats
    Fp32,
    /// bfloat16; weights, representations and scores stay in 32-bit floats
    Bf16,
}

impl fmt::Display for PrecisionArg {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Precision::from(*self).name())
    }
}

impl From<PrecisionArg> for Precision {
    fn from(typed: PrecisionArg) -> Self {
        match typed {
            PrecisionArg::Auto => Self::Auto,
            PrecisionArg::Fp32 => Self::Fp32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

/// Tokens of a text at most: of fewer all texts would be the same.
pub fn text_len(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(len) if len >= 3 => Ok(len),
        Ok(_) => Err("two special tokens and one of the text need 3".into()),
        Err(e) => Err(e.to_string()),
    }
}
