//! The model's shape, without its weights: what costs depend on.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};
use tercet_configs::{
    EncoderConfig, ExitCode, LossPreset, ModelFolder, Pooling, Precision, Recipe, WeightFiles, WeightFormat,
};

use crate::exit::Fail;

/// A safetensors header is some tens of kilobytes; more than this is no header.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The heads that a loss trains besides the dense one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The lexical head.
    pub lexical: bool,
    /// The multi-vector head.
    pub multi_vector: bool,
}

/// Encoder and heads as numbers.
#[derive(Debug, Clone)]
pub struct ModelShape {
    /// The encoder's config.json, with the recipe's changes.
    pub config: EncoderConfig,
    /// Width of the multi-vector head.
    pub multi_vector_dim: usize,
    /// Elements of all weights.
    pub num_parameters: f64,
    /// The heads that run.
    pub heads: Heads,
    /// Only the texts' first tokens leave the last layer: the dense head alone, with CLS pooling.
    pub only_cls: bool,
    /// Bytes of a weight, an activation, a score.
    pub element_bytes: f64,
    /// Bytes of an element of the encoder's hidden states.
    pub compute_bytes: f64,
}

impl ModelShape {
    /// The model that `recipe` would train; `config` is a config.json to go by instead of the recipe's, for a model that
    /// is not there yet.
    ///
    /// # Errors
    /// The recipe names no model, or config.json cannot be used.
    pub fn of(recipe: &Recipe, config: Option<&Path>) -> anyhow::Result<Self> {
        let section = &recipe.model;
        let folder = match (config, &section.path) {
            (None, Some(dir)) => Some(ModelFolder::open(dir)?),
            _ => None,
        };
        let path = match (config, &folder, &section.config) {
            (Some(path), _, _) => path.to_owned(),
            (None, Some(folder), _) => folder.transformer.join("config.json"),
            (None, None, Some(path)) => path.clone(),
            (None, None, None) => {
                let message = "the recipe's model.path is missing (or model.config, for fresh weights)";
                return Err(Fail::new(ExitCode::Usage, message).into());
            }
        };
        let mut encoder = EncoderConfig::load(&path)?;
        encoder.max_position_embeddings = encoder.max_position_embeddings.max(section.max_position_embeddings);
        if let Some(p) = section.dropout {
            (encoder.hidden_dropout_prob, encoder.attention_probs_dropout_prob) = (p, p);
        }
        let multi_vector_dim =
            if section.multi_vector_dim > 0 { section.multi_vector_dim } else { encoder.hidden_size };
        // Fresh models have a pooler, and so do most that are published.
        let with_pooler = folder.as_ref().and_then(|folder| has_pooler(&WeightFiles::find(&folder.transformer).ok()?));
        let num_parameters = encoder.num_parameters(multi_vector_dim, with_pooler.unwrap_or(true)) as f64;
        let pooling = match &folder {
            Some(folder) => folder.pooling(section.pooling)?,
            None => section.pooling.unwrap_or_default(),
        };
        let all = recipe.loss.preset != LossPreset::Dense;
        Ok(Self {
            config: encoder,
            multi_vector_dim,
            num_parameters,
            heads: Heads { lexical: all, multi_vector: all },
            only_cls: !all && pooling == Pooling::Cls,
            element_bytes: match recipe.precision {
                Precision::Fp32 | Precision::Bf16 => 4.0,
                Precision::Fp64 => 8.0,
            },
            compute_bytes: match recipe.precision {
                Precision::Bf16 => 2.0,
                Precision::Fp32 => 4.0,
                Precision::Fp64 => 8.0,
            },
        })
    }
}

/// Whether the weights have BERT's pooler; `None` if it cannot be told without reading them.
fn has_pooler(weights: &WeightFiles) -> Option<bool> {
    let is_pooler = |name: &String| name.ends_with("pooler.dense.weight");
    match (weights.format, weights.files.as_slice()) {
        _ if weights.index.is_some() => Some(weights.tensors.keys().any(is_pooler)),
        (WeightFormat::Safetensors, [file]) => Some(header(file)?.keys().any(is_pooler)),
        _ => None,
    }
}

/// What a safetensors file says of its tensors.
fn header(path: &Path) -> Option<Map<String, Value>> {
    let mut file = File::open(path).ok()?;
    let mut len = [0; 8];
    file.read_exact(&mut len).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(len).min(MAX_HEADER_BYTES)).read_to_end(&mut header).ok()?;
    serde_json::from_slice(&header).ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// d 8, ffn 16, 2 layers of 2 heads, 100 words, 34 positions; multi-vectors 4 wide.
    pub fn shape(all_heads: bool) -> ModelShape {
        let json = serde_json::json!({
            "model_type": "xlm-roberta", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 34, "pad_token_id": 1,
            "type_vocab_size": 1, "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0,
        });
        let config = EncoderConfig::from_json(json.as_object().unwrap().clone()).unwrap();
        ModelShape {
            num_parameters: config.num_parameters(4, true) as f64,
            config,
            multi_vector_dim: 4,
            heads: Heads { lexical: all_heads, multi_vector: all_heads },
            only_cls: !all_heads,
            element_bytes: 4.0,
            compute_bytes: 4.0,
        }
    }

    #[test]
    fn a_weights_file_tells_whether_it_has_a_pooler() {
        let has_pooler = |dir: &Path| has_pooler(&WeightFiles::find(dir).unwrap());
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/nano_xlmr/hf");
        assert_eq!(has_pooler(&golden), Some(true));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        std::fs::write(&path, b"\x02\0\0\0\0\0\0\0{}").unwrap();
        assert_eq!(has_pooler(dir.path()), Some(false));
        std::fs::write(&path, b"\xff\xff\xff\xff\xff\xff\xff\xffx").unwrap();
        assert_eq!(has_pooler(dir.path()), None);
        std::fs::remove_file(&path).unwrap();
        let index = r#"{"weight_map": {"bert.pooler.dense.weight": "a.safetensors"}}"#;
        std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
        std::fs::write(dir.path().join("a.safetensors"), b"").unwrap();
        assert_eq!(has_pooler(dir.path()), Some(true));
    }
}
