//! `measure`: nobody types it, `tercet plan --measure` asks for it.

use std::ffi::OsString;

use clap::Args;

use super::RecipeArgs;
use crate::words::Words;

/// Whose model is measured, on which texts.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MeasureArgs {
    /// Whose model.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Tokens of each text
    #[arg(long, value_name = "TOKENS", default_value_t = 256)]
    pub text_len: usize,
}

impl MeasureArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        self.recipe.end(words.shown("--text-len", self.text_len))
    }
}
