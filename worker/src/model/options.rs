//! How a model is read, where there is a choice.

use std::path::PathBuf;

use tercet_configs::{Pooling, Positions, Purpose, Recipe};

/// What a recipe or a command line says about a model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// What it is for.
    pub purpose: Purpose,
    /// How the dense head reads a text. None: as the folder's pooling says, else CLS.
    pub pooling: Option<Pooling>,
    /// Whether dense and multi-vector representations are scaled to length 1. None: as the folder's modules.json says,
    /// else true.
    pub normalize: Option<bool>,
    /// The tokenizer.json, where it is not the one beside the model.
    pub tokenizer: Option<PathBuf>,
    /// The least number of positions that the model should have. 0 keeps the model's.
    pub max_position_embeddings: usize,
    /// How positions that the model's files lack are initialised.
    pub positions: Positions,
    /// The weight α of hierarchical positions.
    pub positions_alpha: f64,
    /// Width of the multi-vector head. 0: as its file says, or the hidden size where the head is drawn afresh.
    pub multi_vector_dim: usize,
    /// Replaces both dropout probabilities of config.json. None keeps them.
    pub dropout: Option<f64>,
    /// Seeds weights that no file gives.
    pub seed: u64,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            purpose: Purpose::Retrieval,
            pooling: None,
            normalize: None,
            tokenizer: None,
            max_position_embeddings: 0,
            positions: Positions::default(),
            positions_alpha: 0.4,
            multi_vector_dim: 0,
            dropout: None,
            seed: 42,
        }
    }
}

impl ModelOptions {
    /// The recipe's `[model]`, for what it trains.
    pub fn of(recipe: &Recipe) -> Self {
        let section = &recipe.model;
        Self {
            purpose: Purpose::of(recipe.loss.preset),
            pooling: section.pooling,
            normalize: Some(section.normalize),
            tokenizer: section.tokenizer.clone(),
            max_position_embeddings: section.max_position_embeddings,
            positions: section.positions,
            positions_alpha: section.positions_alpha,
            multi_vector_dim: section.multi_vector_dim,
            dropout: section.dropout,
            seed: recipe.seed,
        }
    }
}
