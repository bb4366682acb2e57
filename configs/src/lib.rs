//! Recipes: TOML files, each of which describes one training run completely.
//!
//! [`Recipe::load`] reads a file, applies `--set key=value` overrides, refuses unknown keys with the line and the key
//! that was probably meant, and checks that the values make sense together. The recipe that it returns is *resolved*:
//! every default is filled in, and [`Recipe::to_toml`] writes it so that it loads again as the same run.
//!
//! This crate also reads what a model's folder says about itself, both for computing and for planning:
//! [`EncoderConfig`] reads config.json, [`ModelFolder`] reads the files of sentence-transformers, and [`WeightFiles`]
//! finds the weights.
//!
//! It looks neither at data, nor at the values of weights, nor at machines.

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
mod visible_devices;
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
pub use visible_devices::VisibleDevices;
pub use weight_files::{WeightFiles, WeightFormat};
