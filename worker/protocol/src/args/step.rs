//! `step`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::RecipeArgs;
use crate::words::Words;

/// Which model computes a step of which recipe, on which batch.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StepArgs {
    /// How the step is computed.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The batch as rows to be tokenised: JSON Lines (plain, .gz or .zst), Parquet or Arrow
    #[arg(long, value_name = "FILE", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub rows: Option<PathBuf>,
    /// Whose settings in the recipe's data.sets the rows take; default: the data set that has the file's name
    #[arg(long, value_name = "NAME", requires = "rows")]
    pub dataset: Option<String>,
    /// The batch already tokenised: q.input_ids, q.attention_mask, p.input_ids, p.attention_mask
    #[arg(long, value_name = "FILE.safetensors")]
    pub tokens: Option<PathBuf>,
}

impl StepArgs {
    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words
            .value("--model", &self.model)
            .each("--rows", &self.rows)
            .each("--dataset", &self.dataset)
            .each("--tokens", &self.tokens);
        self.recipe.end(words)
    }
}
