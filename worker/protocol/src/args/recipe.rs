//! Which recipe, and what replaces its values.

use std::path::PathBuf;

use clap::Args;
use tercet_configs::{Recipe, RecipeError};

use crate::words::Words;

/// A recipe as people name it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RecipeArgs {
    /// The recipe (TOML)
    #[arg(value_name = "RECIPE")]
    pub path: PathBuf,
    /// Replace a value of the recipe, e.g. --set loss.temperature=0.05; may be repeated, the last one wins
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Further KEY=VALUE after the recipe, as in `--set a=1 b=2`.
    #[arg(hide = true, value_parser = key_value)]
    pub more: Vec<String>,
}

impl RecipeArgs {
    /// All that replaces values, in the order in which it applies.
    pub fn settings(&self) -> Vec<String> {
        self.set.iter().chain(&self.more).cloned().collect()
    }

    /// The recipe with its values replaced.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn load(&self) -> Result<Recipe, RecipeError> {
        Recipe::load(&self.path, &self.settings())
    }

    pub(crate) fn end(&self, words: Words) -> Vec<std::ffi::OsString> {
        words.each("--set", self.settings()).ending_with([&self.path])
    }
}

fn key_value(text: &str) -> Result<String, String> {
    match text.contains('=') {
        true => Ok(text.to_owned()),
        false => Err("expected KEY=VALUE: a recipe is given only once".into()),
    }
}
