//! The encoder as transformers' classes have it: names of weights, and the `config.json` of an export.

use serde_json::{Map, Value};

use super::EncoderConfig;

/// Keys that an exported config.json leaves out because they no longer hold, or held only for another program's model:
/// labels of a task's head, code of the original folder, the file's former writer.
const NOT_EXPORTED: [&str; 13] = [
    "_name_or_path",
    "_num_labels",
    "adapters",
    "auto_map",
    "classifier_dropout",
    "finetuning_task",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "quantization_config",
    "sentence_transformers",
    "transformers_version",
];

impl EncoderConfig {
    /// What transformers' class with a masked-language-model head calls the weight that is `own` here: the encoder's
    /// under its prefix, those of the head (`lm_head.…`) as the family has them. Others keep their names.
    pub fn masked_lm_name(&self, own: &str) -> String {
        let prefix = self.family.prefix;
        match own.strip_prefix("lm_head.") {
            Some("bias") if prefix == "bert" => "cls.predictions.bias".to_owned(),
            Some(part) if prefix == "bert" => {
                format!("cls.predictions.transform.{}", part.replace("layer_norm", "LayerNorm"))
            }
            None if ["embeddings.", "encoder."].iter().any(|start| own.starts_with(start)) => format!("{prefix}.{own}"),
            _ => own.to_owned(),
        }
    }

    /// The `config.json` of the encoder in its current state, with weights of the type `dtype` (torch's name).
    pub fn to_json(&self, dtype: &str) -> Value {
        Value::Object(self.json_of(self.family.class, dtype))
    }

    /// The `config.json` of the same encoder with the head that predicts masked words.
    pub fn masked_lm_json(&self, dtype: &str) -> Value {
        let mut json = self.json_of(self.family.masked_lm, dtype);
        json.insert("tie_word_embeddings".into(), true.into());
        Value::Object(json)
    }

    /// The class of transformers that has the encoder and this head, and what stands before the encoder's names there.
    pub fn masked_lm(&self) -> (&'static str, &'static str) {
        (self.family.masked_lm, self.family.prefix)
    }

    fn json_of(&self, class: &str, dtype: &str) -> Map<String, Value> {
        let mut json = self.raw.clone();
        json.retain(|key, _| !NOT_EXPORTED.contains(&key.as_str()));
        json.insert("architectures".into(), [class].into_iter().collect());
        json.insert("max_position_embeddings".into(), self.max_position_embeddings.into());
        json.insert("hidden_dropout_prob".into(), self.hidden_dropout_prob.into());
        json.insert("attention_probs_dropout_prob".into(), self.attention_probs_dropout_prob.into());
        // transformers 4 reads `torch_dtype`, transformers 5 both names.
        if !json.contains_key("dtype") {
            json.insert("torch_dtype".into(), dtype.into());
        }
        for key in ["dtype", "torch_dtype"] {
            json.entry(key).and_modify(|stated| *stated = dtype.into());
        }
        json
    }
}
