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
//! It looks neither at data, nor at the values of weights, nor at machines, but for what NVIDIA's driver tells of a
//! machine's GPUs ([`NvidiaDriver`]), by which whoever starts ranks counts them.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod check_data;
mod check_eval;
mod data;
mod device;
mod encoder_config;
mod error;
mod exit;
mod gpu_kind;
mod head;
mod json_file;
pub mod limits;
mod load;
mod loss_table;
mod matmul;
mod memory_budget;
mod metric;
mod model_folder;
mod model_shape;
mod nvidia_driver;
mod pooling;
mod prompts;
mod purpose;
mod recipe;
mod text;
mod visible_devices;
mod weight_files;
pub mod weight_names;

pub use data::{DataSection, DataSet, FewNegatives, LengthGroup, Negatives, WeightChange};
pub use device::Device;
pub use encoder_config::EncoderConfig;
pub use error::RecipeError;
pub use exit::{ExitCode, error_line};
pub use gpu_kind::GpuKind;
pub use head::{Head, Heads, PerHead};
pub use json_file::{ModelFolderError, in_its_place, read_json_if_there, unreadable};
pub use load::from_toml;
pub use loss_table::{Distillation, HYBRID_WEIGHTS, LossTable, NUM_TERMS};
pub use matmul::{CpuMatmul, MatmulLibrary};
pub use memory_budget::MemoryBudget;
pub use metric::{Metric, MetricKind};
pub use model_folder::{ModelFolder, TOKENIZER_FILES};
pub use model_shape::ModelShape;
pub use nvidia_driver::{GpuSlot, NvidiaDriver, UsableGpus, major_of};
pub use pooling::Pooling;
pub use prompts::Prompts;
pub use purpose::Purpose;
pub use recipe::{
    Backend, CheckpointSection, DecoderQuery, DeviceChoice, EvalSection, FaultsSection, LogSection, LossPreset,
    LossSection, ModelSection, OnFaults, OptimizerSection, Origin, Positions, Precision, PretrainSection, RandomWords,
    Recipe, RestartSection, RingPrecision, Teacher,
};
pub use text::{in_another_encoding, read_text};
pub use visible_devices::VisibleDevices;
pub use weight_files::{WeightFiles, WeightFormat};
