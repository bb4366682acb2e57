//! Reads a Hugging Face `config.json` of the XLM-RoBERTa or BERT family.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A config.json that is unreadable, or of a model that is not supported.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct EncoderConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What the encoder needs of `config.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct EncoderConfig {
    /// `xlm-roberta`, `roberta`, `camembert` or `bert`.
    pub model_type: String,
    /// Rows of the word embedding.
    pub vocab_size: usize,
    /// Width of a hidden state (d).
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Rows of the position embedding.
    pub max_position_embeddings: usize,
    /// Rows of the token type embedding; texts are of type 0.
    #[serde(default = "one")]
    pub type_vocab_size: usize,
    /// Id of the padding token.
    #[serde(default)]
    pub pad_token_id: usize,
    /// Added to the variance in layer norms.
    #[serde(default = "default_layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// Standard deviation of fresh weights.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
    /// Dropout of embeddings, attention output and feed-forward output.
    #[serde(default)]
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities.
    #[serde(default)]
    pub attention_probs_dropout_prob: f64,
    /// Activation of the feed-forward layer.
    #[serde(default = "default_hidden_act")]
    pub hidden_act: String,
    /// The file as it was, for export.
    #[serde(skip)]
    pub raw: serde_json::Value,
}

fn one() -> usize {
    1
}

fn default_layer_norm_eps() -> f64 {
    1e-12
}

fn default_initializer_range() -> f64 {
    0.02
}

fn default_hidden_act() -> String {
    "gelu".into()
}

impl EncoderConfig {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// An unreadable file, another architecture or activation than the supported ones, or sizes that do not fit.
    pub fn load(path: &Path) -> Result<Self, EncoderConfigError> {
        let fail = |reason: String| EncoderConfigError { path: path.to_owned(), reason };
        let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
        let raw: serde_json::Value = serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
        let mut config: EncoderConfig = serde_json::from_value(raw.clone()).map_err(|e| fail(e.to_string()))?;
        config.raw = raw;
        if !["xlm-roberta", "roberta", "camembert", "bert"].contains(&config.model_type.as_str()) {
            let found = &config.model_type;
            return Err(fail(format!(
                "model_type {found:?} is not supported: xlm-roberta, roberta, camembert and bert are"
            )));
        }
        if config.hidden_act != "gelu" {
            return Err(fail(format!("hidden_act {:?} is not supported: gelu is", config.hidden_act)));
        }
        if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            let (d, h) = (config.hidden_size, config.num_attention_heads);
            return Err(fail(format!("hidden_size {d} is not a multiple of num_attention_heads {h}")));
        }
        Ok(config)
    }

    /// Elements of all weights: embeddings, layers, BERT's pooler where the model has one, and the lexical and the
    /// multi-vector head, the latter `multi_vector_dim` wide.
    pub fn num_parameters(&self, multi_vector_dim: usize, with_pooler: bool) -> usize {
        let (d, ffn) = (self.hidden_size, self.intermediate_size);
        let linear = |rows: usize, columns: usize| rows * columns + rows;
        let norm = 2 * d;
        let embeddings = (self.vocab_size + self.max_position_embeddings + self.type_vocab_size) * d + norm;
        let layer = 4 * linear(d, d) + linear(ffn, d) + linear(d, ffn) + 2 * norm;
        let pooler = if with_pooler { linear(d, d) } else { 0 };
        embeddings + self.num_hidden_layers * layer + pooler + linear(1, d) + linear(multi_vector_dim, d)
    }

    /// The position id of a text's first token: RoBERTa's family counts from the padding id + 1, BERT from 0.
    pub fn first_position(&self) -> usize {
        if self.model_type == "bert" { 0 } else { self.pad_token_id + 1 }
    }

    /// Tokens that a text may have.
    pub fn max_text_len(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// `config.json` as it is now (positions may have been extended).
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = self.raw.clone();
        json["max_position_embeddings"] = self.max_position_embeddings.into();
        json["hidden_dropout_prob"] = self.hidden_dropout_prob.into();
        json["attention_probs_dropout_prob"] = self.attention_probs_dropout_prob.into();
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(changes: &[(&str, serde_json::Value)]) -> Result<EncoderConfig, EncoderConfigError> {
        let mut json = serde_json::json!({
            "model_type": "xlm-roberta", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 34, "pad_token_id": 1,
        });
        for (key, value) in changes {
            json[key] = value.clone();
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, json.to_string()).unwrap();
        EncoderConfig::load(&path)
    }

    #[test]
    fn parameters_are_counted_by_hand() {
        // Embeddings (100 + 34 + 1)·8 + 16; a layer 4·72 + 144 + 136 + 32; heads 9 and 4·8 + 4; the pooler 72.
        let config = config(&[]).unwrap();
        assert_eq!(config.num_parameters(4, false), 1_096 + 2 * 600 + 9 + 36);
        assert_eq!(config.num_parameters(4, true), 1_096 + 2 * 600 + 72 + 9 + 36);
    }

    #[test]
    fn positions_start_behind_the_padding_id_but_for_bert() {
        assert_eq!(config(&[]).unwrap().max_text_len(), 32);
        assert_eq!(config(&[("model_type", "bert".into())]).unwrap().max_text_len(), 34);
    }

    #[test]
    fn an_unsupported_model_is_named_with_its_file() {
        for (key, value, reason) in [
            ("model_type", "gpt2".into(), "model_type \"gpt2\" is not supported"),
            ("hidden_act", "relu".into(), "hidden_act \"relu\" is not supported"),
            ("num_attention_heads", 3.into(), "hidden_size 8 is not a multiple of num_attention_heads 3"),
            ("vocab_size", "many".into(), "invalid type"),
        ] {
            let message = config(&[(key, value)]).unwrap_err().to_string();
            assert!(message.contains("config.json: ") && message.contains(reason), "{message}");
        }
    }
}
