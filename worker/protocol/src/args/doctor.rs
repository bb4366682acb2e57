//! `doctor`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use tercet_configs::{DeviceChoice, Recipe, RecipeError};

use super::DeviceArg;
use crate::words::Words;

/// What is to run on the machines that are examined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// The recipe (TOML) that is to run; without it only machines and programs are examined
    pub recipe: Option<PathBuf>,
    /// Replace a value of the recipe, e.g. --set run_dir=runs/a; may be repeated, the last one wins
    #[arg(long, value_name = "KEY=VALUE", requires = "recipe")]
    pub set: Vec<String>,
    /// What ranks compute on; default: as the recipe says, or auto
    #[arg(long, value_enum, value_name = "DEVICE")]
    pub device: Option<DeviceArg>,
}

impl DoctorArgs {
    /// What ranks compute on; `recipe` is the one that was named.
    pub fn device_choice(&self, recipe: Option<&Recipe>) -> DeviceChoice {
        let of_recipe = || recipe.map_or_else(DeviceChoice::default, |recipe| recipe.device);
        self.device.map_or_else(of_recipe, Into::into)
    }

    /// The recipe, if there is one, with its values replaced.
    pub fn load(&self) -> Option<Result<Recipe, RecipeError>> {
        self.recipe.as_ref().map(|path| Recipe::load(path, &self.set))
    }

    pub(crate) fn words(&self, words: Words) -> Vec<OsString> {
        let words = words.each("--set", &self.set).each("--device", self.device.map(DeviceArg::name));
        words.ending_with(&self.recipe)
    }
}
