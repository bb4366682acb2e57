//! `doctor`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use tercet_configs::{Recipe, RecipeError};

use crate::words::Words;

/// What is to run on the machines that are examined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// The recipe (TOML) that shall run; without it only machines and programs are examined
    pub recipe: Option<PathBuf>,
    /// Replace a value of the recipe, e.g. --set run_dir=runs/a; may be repeated, the last one wins
    #[arg(long, value_name = "KEY=VALUE", requires = "recipe")]
    pub set: Vec<String>,
}

impl DoctorArgs {
    /// The recipe, if there is one, with its values replaced.
    pub fn load(&self) -> Option<Result<Recipe, RecipeError>> {
        self.recipe.as_ref().map(|path| Recipe::load(path, &self.set))
    }

    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        words.each("--set", &self.set).ending_with(&self.recipe)
    }
}
