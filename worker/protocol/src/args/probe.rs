//! `probe`: `tercet-test-gpu` asks for it, and whoever wants to know what libtorch makes of a card.

use std::ffi::OsString;

use clap::Args;

use crate::words::Words;

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ProbeArgs {
    /// Tokens of each measurement, in as many texts as that makes
    #[arg(long, value_name = "TOKENS", default_value_t = 16384)]
    pub tokens: usize,
    /// Tokens of a text; a list with commas
    #[arg(long, value_name = "LEN", value_delimiter = ',', default_value = "64,512,2048,8192")]
    pub lens: Vec<usize>,
    /// Attention heads of a layer, of 64 dimensions each
    #[arg(long, value_name = "HEADS", default_value_t = 16)]
    pub heads: usize,
}

impl ProbeArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        words
            .shown("--tokens", self.tokens)
            .each("--lens", self.lens.iter().map(usize::to_string))
            .shown("--heads", self.heads)
            .all()
    }
}
