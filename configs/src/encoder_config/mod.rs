//! Reads a Hugging Face `config.json` of the XLM-RoBERTa or BERT family.
//!
//! A missing key has the value that transformers' configuration class of the family gives it. A key that makes the
//! model compute something else than Tercet does is refused by name.

mod export;
mod family;
mod keys;
mod refused;
mod weights;

use std::path::Path;

use serde_json::{Map, Value};

use crate::json_file::{ModelFolderError, is_there, read_json};
use crate::purpose::Purpose;
use crate::weight_files::of_another_kind;
use family::{FAMILIES, Family};
use keys::Keys;
use refused::refuse_other_models;

/// What the encoder needs of `config.json`.
#[derive(Debug, Clone)]
pub struct EncoderConfig {
    /// `xlm-roberta`, `roberta`, `camembert` or `bert`.
    pub model_type: String,
    /// The number of rows of the word embedding.
    pub vocab_size: usize,
    /// The width of a hidden state (d).
    pub hidden_size: usize,
    /// The number of encoder layers.
    pub num_hidden_layers: usize,
    /// The number of attention heads; it divides `hidden_size`.
    pub num_attention_heads: usize,
    /// The width of the feed-forward layer.
    pub intermediate_size: usize,
    /// The number of rows of the position embedding.
    pub max_position_embeddings: usize,
    /// The number of rows of the token type embedding; texts are of type 0.
    pub type_vocab_size: usize,
    /// The id of the padding token.
    pub pad_token_id: usize,
    /// The number added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// The standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Dropout of embeddings, attention output and feed-forward output.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// The keys that the file lacks, with their default values.
    pub defaults: Vec<String>,
    /// The unchanged content of the file, for export.
    pub raw: Map<String, Value>,
    family: &'static Family,
}

/// Two special tokens and one of the text; with fewer tokens all texts are the same.
const MIN_TEXT_LEN: usize = 3;

impl EncoderConfig {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// The file is unreadable, the architecture or activation is not supported, or sizes do not fit.
    pub fn load(path: &Path) -> Result<Self, ModelFolderError> {
        let fail = |reason: String| ModelFolderError::new(path, reason);
        if !is_there(path) {
            return Err(fail(missing(path)));
        }
        match read_json(path)? {
            Value::Object(raw) => Self::from_json(raw).map_err(fail),
            _ => Err(fail("is not a JSON object".into())),
        }
    }

    /// Reads and checks a config.json's object.
    ///
    /// # Errors
    /// As [`EncoderConfig::load`]; the reason names the key.
    pub fn from_json(raw: Map<String, Value>) -> Result<Self, String> {
        let names = FAMILIES.each_ref().map(|family| family.name).join(", ");
        let model_type = match raw.get("model_type") {
            Some(Value::String(name)) => name.clone(),
            Some(other) => return Err(format!("model_type is {other}: one of {names} is expected")),
            None => return Err(format!("has no model_type: one of {names} is expected")),
        };
        let Some(family) = FAMILIES.iter().find(|family| family.name == model_type) else {
            return Err(format!("model_type {model_type:?} is not supported: {names} are"));
        };
        refuse_other_models(&raw)?;
        let mut keys = Keys { raw: &raw, defaults: Vec::new() };
        let mut config = Self {
            vocab_size: keys.size("vocab_size", family.vocab_size)?,
            hidden_size: keys.size("hidden_size", 768)?,
            num_hidden_layers: keys.size("num_hidden_layers", 12)?,
            num_attention_heads: keys.size("num_attention_heads", 12)?,
            intermediate_size: keys.size("intermediate_size", 3072)?,
            max_position_embeddings: keys.size("max_position_embeddings", 512)?,
            type_vocab_size: keys.size("type_vocab_size", 2)?,
            pad_token_id: keys.pad_token_id(family.pad_token_id)?,
            layer_norm_eps: keys.real("layer_norm_eps", 1e-12, 1.0)?,
            initializer_range: keys.real("initializer_range", 0.02, f64::MAX)?,
            hidden_dropout_prob: keys.real("hidden_dropout_prob", 0.1, 1.0)?,
            attention_probs_dropout_prob: keys.real("attention_probs_dropout_prob", 0.1, 1.0)?,
            defaults: Vec::new(),
            model_type,
            raw: Map::new(),
            family,
        };
        let defaults = keys.defaults;
        (config.defaults, config.raw) = (defaults, raw);
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            let (d, h) = (config.hidden_size, config.num_attention_heads);
            let mut reason = format!("hidden_size {d} is not a multiple of num_attention_heads {h}");
            if !config.defaults.is_empty() {
                reason +=
                    &format!("; missing keys, which have Hugging Face's defaults: {}", config.defaults.join(", "));
            }
            return Err(reason);
        }
        if config.max_text_len() < MIN_TEXT_LEN {
            let (positions, first) = (config.max_position_embeddings, config.first_position());
            let counted = match first {
                0 => String::new(),
                _ => format!(", as they are counted from pad_token_id {} + 1", config.pad_token_id),
            };
            return Err(format!(
                "max_position_embeddings {positions} leaves too few positions for a text{counted}: two special tokens and \
                 one of the text need {MIN_TEXT_LEN}"
            ));
        }
        Ok(config)
    }

    /// The number of elements of all weights: embeddings, layers, BERT's pooler if the model has one, and what stands
    /// on the encoder. That is the lexical and the multi-vector head, which is `multi_vector_dim` wide; or the head
    /// that predicts words, whose table is that of the embeddings, and the decoder's layer.
    pub fn num_parameters(&self, purpose: Purpose, multi_vector_dim: usize, with_pooler: bool) -> usize {
        let (d, ffn) = (self.hidden_size, self.intermediate_size);
        let linear = |rows: usize, columns: usize| rows * columns + rows;
        let norm = 2 * d;
        let embeddings = self.num_embeddings() + norm;
        let layer = 4 * linear(d, d) + linear(ffn, d) + linear(d, ffn) + 2 * norm;
        let pooler = if with_pooler { linear(d, d) } else { 0 };
        let on_encoder = match purpose {
            Purpose::Retrieval => linear(1, d) + linear(multi_vector_dim, d),
            Purpose::Pretraining { decoder } => linear(d, d) + norm + self.vocab_size + if decoder { layer } else { 0 },
        };
        embeddings + self.num_hidden_layers * layer + pooler + on_encoder
    }

    /// Elements of the tables of words, positions and token types.
    pub fn num_embeddings(&self) -> usize {
        (self.vocab_size + self.max_position_embeddings + self.type_vocab_size) * self.hidden_size
    }

    /// The position id of a text's first token: RoBERTa's family counts from the padding id + 1, BERT from 0.
    pub fn first_position(&self) -> usize {
        if self.model_type == "bert" { 0 } else { self.pad_token_id + 1 }
    }

    /// The largest number of tokens of a text.
    pub fn max_text_len(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }
}

/// Why there is no config.json, judging by what its folder holds instead.
fn missing(path: &Path) -> String {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // `model.config` may name a file that is no model folder's.
    if path.file_name().is_some_and(|name| name != "config.json") {
        return "no such file".into();
    }
    if !dir.exists() {
        return "no such folder: models are not downloaded; fetch the model first and name its folder".into();
    }
    if dir.is_file() {
        return format!("{} is a file: name the model's folder", dir.display());
    }
    let mut below: Vec<String> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    below.sort();
    let holds = |name: &&String| dir.join(name).join("config.json").exists();
    let step = below.iter().rev().find(|name| dir.join(name).join("model/config.json").exists());
    let snapshot = || std::fs::read_dir(dir.join("snapshots")).ok()?.next()?.ok();
    if let Some(name) = below.iter().find(holds) {
        format!("no such file: the model seems to be in {}", dir.join(name).display())
    } else if let Some(name) = step {
        format!("no such file: the model seems to be in {}", dir.join(name).join("model").display())
    } else if let Some(snapshot) = snapshot() {
        format!("no such file: the model seems to be in {}", snapshot.path().display())
    } else {
        let kind = of_another_kind(dir).map(|kind| format!("; {kind}")).unwrap_or_default();
        format!("no such file: a model's folder has config.json, its weights and tokenizer.json{kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(model_type: &str) -> Map<String, Value> {
        let json = serde_json::json!({
            "model_type": model_type, "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 34, "type_vocab_size": 1,
        });
        json.as_object().unwrap().clone()
    }

    fn config(changes: &[(&str, Value)]) -> Result<EncoderConfig, String> {
        let mut json = family("xlm-roberta");
        json.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        EncoderConfig::from_json(json)
    }

    #[test]
    fn parameters_are_counted_by_hand() {
        // Embeddings (100 + 34 + 1)·8 + 16; a layer 4·72 + 144 + 136 + 32; heads 9 and 4·8 + 4; the pooler 72.
        let config = config(&[]).unwrap();
        let encoder = 1_096 + 2 * 600;
        assert_eq!(config.num_parameters(Purpose::Retrieval, 4, false), encoder + 9 + 36);
        assert_eq!(config.num_parameters(Purpose::Retrieval, 4, true), encoder + 72 + 9 + 36);
        // The head that predicts words: a map of 72, a norm of 16, a bias for each word.
        let mlm = encoder + 72 + 16 + 100;
        assert_eq!(config.num_parameters(Purpose::Pretraining { decoder: false }, 4, false), mlm);
        assert_eq!(config.num_parameters(Purpose::Pretraining { decoder: true }, 4, true), mlm + 600 + 72);
    }

    #[test]
    fn positions_start_behind_the_padding_id_but_for_bert() {
        for (model_type, max_text_len) in [("xlm-roberta", 32), ("roberta", 32), ("camembert", 32), ("bert", 34)] {
            let config = EncoderConfig::from_json(family(model_type)).unwrap();
            assert_eq!(config.max_text_len(), max_text_len, "{model_type}");
        }
        assert_eq!(config(&[("pad_token_id", 0.into())]).unwrap().max_text_len(), 33);
        let null = Value::Null;
        let mut bert = family("bert");
        bert.insert("pad_token_id".into(), null.clone());
        assert_eq!(EncoderConfig::from_json(bert).unwrap().max_text_len(), 34);
        assert!(config(&[("pad_token_id", null)]).unwrap_err().contains("pad_token_id is null"));
    }

    #[test]
    fn a_missing_key_has_hugging_faces_default() {
        let only_type = serde_json::json!({"model_type": "bert"});
        let config = EncoderConfig::from_json(only_type.as_object().unwrap().clone()).unwrap();
        assert_eq!((config.vocab_size, config.hidden_size, config.num_hidden_layers), (30522, 768, 12));
        assert_eq!((config.type_vocab_size, config.layer_norm_eps, config.hidden_dropout_prob), (2, 1e-12, 0.1));
        assert!(config.defaults.contains(&"vocab_size (30522)".to_owned()), "{:?}", config.defaults);
        let roberta = serde_json::json!({"model_type": "roberta"});
        assert_eq!(EncoderConfig::from_json(roberta.as_object().unwrap().clone()).unwrap().vocab_size, 50_265);
    }

    #[test]
    fn an_unsupported_model_is_named_with_its_key() {
        for (key, value, reason) in [
            ("model_type", "gpt2".into(), "model_type \"gpt2\" is not supported"),
            ("hidden_act", "relu".into(), "hidden_act \"relu\" is not supported"),
            ("num_attention_heads", 3.into(), "hidden_size 8 is not a multiple of num_attention_heads 3"),
            ("vocab_size", "many".into(), "vocab_size is \"many\""),
            ("vocab_size", Value::Null, "vocab_size is null"),
            ("hidden_size", 8.5.into(), "hidden_size is 8.5"),
            ("num_hidden_layers", 0.into(), "num_hidden_layers is 0"),
            ("layer_norm_eps", "1e-5".into(), "layer_norm_eps is \"1e-5\""),
            ("hidden_dropout_prob", 1.5.into(), "hidden_dropout_prob is 1.5"),
            ("max_position_embeddings", 4.into(), "max_position_embeddings 4"),
            ("is_decoder", true.into(), "is_decoder is true"),
            ("add_cross_attention", true.into(), "add_cross_attention is true"),
            ("position_embedding_type", "relative_key".into(), "position_embedding_type \"relative_key\""),
            ("quantization_config", serde_json::json!({"quant_method": "gptq"}), "quantised (gptq)"),
            ("pruned_heads", serde_json::json!({"0": [1]}), "pruned_heads"),
            ("auto_map", serde_json::json!({"AutoModel": "modeling.Own"}), "modeling.Own"),
            ("embedding_size", 4.into(), "embedding_size 4"),
        ] {
            let message = config(&[(key, value)]).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
        let harmless = serde_json::json!({"AutoModelForSequenceClassification": "modeling.Own"});
        let changes = [("is_decoder", false.into()), ("pruned_heads", serde_json::json!({})), ("auto_map", harmless)];
        config(&changes).unwrap();
    }

    #[test]
    fn an_exported_config_says_what_is_true_of_the_export() {
        let labels = serde_json::json!({"0": "no", "1": "yes"});
        for key in ["dtype", "torch_dtype"] {
            let found = config(&[
                (key, "float16".into()),
                ("id2label", labels.clone()),
                ("architectures", serde_json::json!(["XLMRobertaForSequenceClassification"])),
                ("transformers_version", "4.30.0".into()),
            ]);
            let json = found.unwrap().to_json("float32");
            assert_eq!(json[key], "float32");
            assert_eq!(json["architectures"], serde_json::json!(["XLMRobertaModel"]));
            assert!(json.get("id2label").is_none() && json.get("transformers_version").is_none());
            assert_eq!(json["num_attention_heads"], 2);
        }
    }

    #[test]
    fn a_folder_without_the_file_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let message = || EncoderConfig::load(&path).unwrap_err().to_string();
        assert!(message().contains("config.json: no such file: a model's folder has"), "{}", message());
        let model = dir.path().join("step-00000001/model");
        std::fs::create_dir_all(&model).unwrap();
        std::fs::write(model.join("config.json"), "{}").unwrap();
        assert!(message().contains("step-00000001/model"), "{}", message());
        let gone = EncoderConfig::load(&dir.path().join("org/name/config.json")).unwrap_err().to_string();
        assert!(gone.contains("no such folder"), "{gone}");
        let other = EncoderConfig::load(&dir.path().join("configs/shape.json")).unwrap_err().to_string();
        assert!(other.ends_with("shape.json: no such file"), "{other}");
        let inside_a_file = EncoderConfig::load(&model.join("config.json/config.json")).unwrap_err().to_string();
        assert!(inside_a_file.contains("is a file: name the model's folder"), "{inside_a_file}");
        std::fs::write(&path, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        assert!(message().contains("Git LFS pointer"), "{}", message());
    }
}
