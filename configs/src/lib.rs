//! Recipes: the TOML files that say one training run completely.
//!
//! [`Recipe::load`] reads a file, lays `--set key=value` overrides over it, refuses unknown keys with the line and
//! the key that was probably meant, and checks that the values make sense together. What it returns is *resolved*:
//! every default is filled in, and [`Recipe::to_toml`] writes it so that it loads again as the same run.
//!
//! Also here is what a model's folder says of itself, for those who compute with it and for those who plan:
//! [`EncoderConfig`] reads config.json, [`ModelFolder`] the files of sentence-transformers, [`WeightFiles`] finds the weights.
//!
//! Not here: anything that looks at data, at weights' values or at machines.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod check_data;
mod data;
mod encoder_config;
mod error;
mod exit;
mod json_file;
mod load;
mod matmul;
mod memory_budget;
mod model_folder;
mod prompts;
mod recipe;
mod weight_files;

pub use data::{DataSection, DataSet, FewNegatives, LengthGroup, Negatives, WeightChange};
pub use encoder_config::EncoderConfig;
pub use error::RecipeError;
pub use exit::{ExitCode, error_line};
pub use json_file::{ModelFolderError, in_its_place, unreadable};
pub use matmul::{CpuMatmul, MatmulLibrary};
pub use memory_budget::MemoryBudget;
pub use model_folder::ModelFolder;
pub use prompts::Prompts;
pub use recipe::{
    Backend, CheckpointSection, FaultsSection, LogSection, LossPreset, LossSection, ModelSection, OnFaults,
    OptimizerSection, Pooling, Precision, Recipe, RestartSection, Teacher,
};
pub use weight_files::{WeightFiles, WeightFormat};
