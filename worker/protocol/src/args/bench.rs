//! `bench`.

use std::ffi::OsString;
use std::num::NonZeroU64;

use clap::Args;

use super::RecipeArgs;
use crate::words::Words;

/// Which steps of which recipe are timed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct BenchArgs {
    /// Whose steps.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Steps that are timed, after one that is not
    #[arg(long, value_name = "N", default_value = "5")]
    pub steps: NonZeroU64,
    /// The run's step to begin with, counted from 0
    #[arg(long, value_name = "STEP", default_value_t = 0)]
    pub from: u64,
}

impl BenchArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        self.recipe.end(words.shown("--steps", self.steps).shown("--from", self.from))
    }
}
