//! A model as numbers, without its weights: what memory, operations and messages depend on.

use std::path::Path;

use crate::encoder_config::EncoderConfig;
use crate::error::RecipeError;
use crate::head::Heads;
use crate::model_folder::ModelFolder;
use crate::pooling::Pooling;
use crate::purpose::Purpose;
use crate::recipe::{LossSection, ModelSection, Origin, Precision, Recipe};
use crate::weight_files::WeightFiles;

/// Encoder and what stands on it as numbers.
#[derive(Debug, Clone)]
pub struct ModelShape {
    /// The encoder's config.json, with the recipe's changes.
    pub config: EncoderConfig,
    /// What stands on the encoder.
    pub purpose: Purpose,
    /// Width of the multi-vector head.
    pub multi_vector_dim: usize,
    /// Elements of all weights.
    pub num_parameters: usize,
    /// The heads that run.
    pub heads: Heads,
    /// Only the texts' first tokens leave the last layer: the dense head alone, with CLS pooling.
    pub only_cls: bool,
    /// Bytes of a weight, of a representation's number, of a score.
    pub element_bytes: usize,
    /// Bytes of an element of the encoder's hidden states.
    pub compute_bytes: usize,
}

impl ModelShape {
    /// The model that `recipe` would train, in fp32 where its precision is left open; `config` is a config.json to go
    /// by instead of the recipe's, for a model that is not there yet.
    ///
    /// # Errors
    /// The recipe names no model, or config.json cannot be used.
    pub fn of(recipe: &Recipe, config: Option<&Path>) -> Result<Self, RecipeError> {
        let section = &recipe.model;
        let (folder, path) = match config.map_or_else(|| section.origin(), |config| Ok(Origin::Config(config)))? {
            Origin::Config(path) => (None, path.to_owned()),
            Origin::Folder(dir) => {
                let folder = ModelFolder::open(dir)?;
                let path = folder.transformer.join("config.json");
                (Some(folder), path)
            }
        };
        let config = with_changes(EncoderConfig::load(&path)?, section);
        // Fresh models for retrieval have a pooler, and so do most models that are published.
        let has_pooler = match &folder {
            Some(folder) => WeightFiles::find(&folder.transformer).ok().and_then(|files| files.has_pooler()),
            None => Some(!recipe.loss.preset.is_pretraining()),
        };
        let pooling = match &folder {
            Some(folder) => folder.pooling(section.pooling)?,
            None => section.pooling.unwrap_or_default(),
        };
        Ok(Self::new(config, section, &recipe.loss, recipe.precision, (has_pooler.unwrap_or(true), pooling)))
    }

    /// The model of `config`; whether its weights have BERT's pooler, and how its dense head pools.
    pub fn new(
        config: EncoderConfig,
        section: &ModelSection,
        loss: &LossSection,
        precision: Precision,
        (has_pooler, pooling): (bool, Pooling),
    ) -> Self {
        let multi_vector_dim = if section.multi_vector_dim > 0 { section.multi_vector_dim } else { config.hidden_size };
        let (heads, purpose) = (Heads::of(loss.preset), Purpose::of(loss.preset));
        let (element_bytes, compute_bytes) = match precision {
            Precision::Auto | Precision::Fp32 => (4, 4),
            Precision::Bf16 => (4, 2),
            Precision::Fp64 => (8, 8),
        };
        Self {
            num_parameters: config.num_parameters(purpose, multi_vector_dim, has_pooler),
            config,
            purpose,
            multi_vector_dim,
            heads,
            only_cls: heads == Heads::DENSE && pooling == Pooling::Cls && purpose == Purpose::Retrieval,
            element_bytes,
            compute_bytes,
        }
    }
}

/// The encoder as the recipe wants it.
fn with_changes(mut config: EncoderConfig, section: &ModelSection) -> EncoderConfig {
    config.max_position_embeddings = config.max_position_embeddings.max(section.max_position_embeddings);
    if let Some(p) = section.dropout {
        (config.hidden_dropout_prob, config.attention_probs_dropout_prob) = (p, p);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_the_configs_with_the_recipes_changes() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.json");
        let json = r#"{"model_type": "xlm-roberta", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 34, "type_vocab_size": 1}"#;
        std::fs::write(&config, json).unwrap();
        let shape = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
            ModelShape::of(&Recipe::parse("name = \"t\"", Path::new("t.toml"), &overrides).unwrap(), Some(&config))
        };
        let plain = shape(&[]).unwrap();
        // Embeddings (100 + 34 + 1)·8 + 16; a layer 600; the pooler 72; heads 9 and 72.
        assert_eq!(plain.num_parameters, 1_096 + 2 * 600 + 72 + 9 + 72);
        assert_eq!((plain.heads, plain.only_cls, plain.multi_vector_dim), (Heads::ALL, false, 8));
        assert_eq!((plain.element_bytes, plain.compute_bytes), (4, 4));
        let changed = shape(&[
            "model.max_position_embeddings=66",
            "model.multi_vector_dim=4",
            "model.dropout=0.5",
            "loss.preset=dense",
            "precision=bf16",
        ]);
        let changed = changed.unwrap();
        assert_eq!(changed.num_parameters, 1_096 + 32 * 8 + 2 * 600 + 72 + 9 + 36);
        assert_eq!((changed.heads, changed.only_cls, changed.config.hidden_dropout_prob), (Heads::DENSE, true, 0.5));
        assert_eq!((changed.element_bytes, changed.compute_bytes), (4, 2));
        // A map of 72, a norm of 16, a bias of 100, the decoder's layer; every token leaves the encoder.
        let pretrained = shape(&["loss.preset=retromae"]).unwrap();
        assert_eq!(pretrained.num_parameters, 1_096 + 2 * 600 + 72 + 16 + 100 + 600);
        assert_eq!((pretrained.purpose, pretrained.only_cls), (Purpose::Pretraining { decoder: true }, false));
    }

    #[test]
    fn a_recipe_without_a_model_says_what_to_set() {
        let recipe = Recipe::parse("name = \"t\"", Path::new("t.toml"), &[]).unwrap();
        let message = ModelShape::of(&recipe, None).unwrap_err().to_string();
        assert_eq!(message, "the recipe's model.path is missing (or model.config, for fresh weights)");
    }
}
