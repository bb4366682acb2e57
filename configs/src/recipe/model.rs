//! `[model]`: the encoder, its heads, and where their files are.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::RecipeError;
use crate::model_folder::ModelFolder;
use crate::pooling::Pooling;

/// `[model]`: where the encoder comes from and how texts become representations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// A Hugging Face directory (config.json, model.safetensors, optionally the two heads' .pt files).
    pub path: Option<PathBuf>,
    /// A config.json to start from fresh weights instead of `path`.
    pub config: Option<PathBuf>,
    /// tokenizer.json; empty: the one beside the model or its config.
    pub tokenizer: Option<PathBuf>,
    /// How the dense head reads a text; left out: as the model's folder says, else CLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Dense and multi-vector representations are scaled to length 1.
    pub normalize: bool,
    /// Number of positions that the encoder gets (8194 for 8192 tokens); 0 keeps the model's. Only ever extends.
    pub max_position_embeddings: usize,
    /// How positions start that `max_position_embeddings` adds to the model in `path`. Its own stay as they are.
    pub positions: Positions,
    /// The weight α of the coarse part in hierarchical positions: above 0, below 1, and not 0.5.
    pub positions_alpha: f64,
    /// Width of the multi-vector head; 0: the hidden size.
    pub multi_vector_dim: usize,
    /// Replaces both dropout probabilities of config.json.
    pub dropout: Option<f64>,
}

/// How the positions start that a model gets besides those that it has learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Computed from the n learned ones, n² at most in all: position k is α u(k div n) + (1 − α) u(k mod n), where u(i)
    /// is (p(i) − α p(0)) / (1 − α). The first n are thus the learned ones (Su Jianlin, spaces.ac.cn/archives/7947).
    Hierarchical,
    /// Copies of the learned ones, in order, over and over.
    #[default]
    Repeat,
    /// Drawn afresh, normal with config.json's `initializer_range`.
    Fresh,
}

/// What a model is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// The weights in a Hugging Face directory.
    Folder(&'a Path),
    /// A config.json alone: fresh weights.
    Config(&'a Path),
}

impl Default for ModelSection {
    fn default() -> Self {
        Self {
            path: None,
            config: None,
            tokenizer: None,
            pooling: None,
            normalize: true,
            max_position_embeddings: 0,
            positions: Positions::default(),
            positions_alpha: 0.4,
            multi_vector_dim: 0,
            dropout: None,
        }
    }
}

impl ModelSection {
    /// What the model is made from.
    ///
    /// # Errors
    /// The section names neither a folder nor a config.json.
    pub fn origin(&self) -> Result<Origin<'_>, RecipeError> {
        match (&self.path, &self.config) {
            (Some(dir), _) => Ok(Origin::Folder(dir)),
            (None, Some(config)) => Ok(Origin::Config(config)),
            (None, None) => Err(RecipeError::NoModel),
        }
    }

    /// The model's config.json; none where the recipe names no model, or the folder cannot be read. Whoever loads the
    /// model reports what is wrong.
    pub fn config_json(&self) -> Option<PathBuf> {
        match self.origin().ok()? {
            Origin::Folder(dir) => Some(ModelFolder::open(dir).ok()?.transformer.join("config.json")),
            Origin::Config(config) => Some(config.to_owned()),
        }
    }

    /// The model's tokenizer.json: the one named, or the one beside the weights or the config.
    pub fn tokenizer_json(&self) -> Option<PathBuf> {
        let beside = || match self.origin().ok()? {
            Origin::Folder(dir) => {
                let found = ModelFolder::open(dir).ok().and_then(|folder| folder.file("tokenizer.json"));
                // What is wrong with the folder is told by who loads the model.
                Some(found.unwrap_or_else(|| dir.join("tokenizer.json")))
            }
            Origin::Config(config) => Some(config.with_file_name("tokenizer.json")),
        };
        self.tokenizer.clone().or_else(beside)
    }
}
