//! Reads a Hugging Face `config.json` of the XLM-RoBERTa or BERT family.

use std::path::Path;

use serde::Deserialize;

use super::ModelError;

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
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let fail = |reason: String| ModelError::Config { path: path.to_owned(), reason };
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
