//! The tokenizer_config.json of an exported model: without it, or with too little in it, other programs' loaders read
//! the same tokenizer.json as another tokenizer.

use std::path::Path;

use serde_json::{Value, json};
use tercet_configs::read_json_if_there;
use tercet_sampler::SpecialTokens;

/// The tokenizer_config.json that `dir` needs, unless it has that already; none where there is no tokenizer.json.
///
/// - If there is none, transformers takes the tokenizer class that goes with the model type, which keeps the vocabulary
///   and replaces the normalizer. `PreTrainedTokenizerFast` takes tokenizer.json as it is, which is what we do.
/// - A length limit is the model's own: positions may have been added, and some files state none that a model could
///   take.
/// - Every special token that the lexical head leaves out is named, and the mask token where there is one. BERT's files
///   name the last one `sep_token` only; FlagEmbedding wants an `eos_token` and cannot score pairs without.
pub(super) fn completed(dir: &Path, special: &SpecialTokens, max_len: usize) -> Option<Value> {
    let read = |name: &str| read_json_if_there(&dir.join(name)).ok().flatten();
    let found = read("tokenizer_config.json").filter(Value::is_object);
    let mut config = found
        .clone()
        .unwrap_or_else(|| json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_len}));
    let roles = [
        ("cls_token", Some(special.cls)),
        ("eos_token", Some(special.eos)),
        ("pad_token", Some(special.pad)),
        ("unk_token", Some(special.unk)),
        ("mask_token", special.mask),
    ];
    let tokenizer = read("tokenizer.json")?;
    let added = tokenizer.get("added_tokens").and_then(Value::as_array);
    if config.get("model_max_length").is_some() {
        config["model_max_length"] = max_len.into();
    }
    for (role, id) in roles.into_iter().filter_map(|(role, id)| Some((role, id?))) {
        let token = added.into_iter().flatten().find(|token| token["id"] == id).and_then(|token| token.get("content"));
        if let Some(token) = token.filter(|_| config.get(role).is_none_or(Value::is_null)) {
            config[role] = token.clone();
        }
    }
    Some(config).filter(|config| Some(config) != found.as_ref())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 1, eos: 2, pad: 0, unk: 3, mask: None };

    fn directory(tokenizer_config: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tokens: Vec<Value> = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
            .iter()
            .enumerate()
            .map(|(id, token)| json!({"id": id, "content": token}))
            .collect();
        fs::write(dir.path().join("tokenizer.json"), json!({"added_tokens": tokens}).to_string()).unwrap();
        if let Some(config) = tokenizer_config {
            fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        }
        dir
    }

    #[test]
    fn a_missing_file_names_a_class_that_reads_tokenizer_json() {
        let expected = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128,
            "cls_token": "[CLS]", "eos_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]",
        });
        assert_eq!(completed(directory(None).path(), &SPECIAL, 128), Some(expected));
        let without_tokenizer = tempfile::tempdir().unwrap();
        assert_eq!(completed(without_tokenizer.path(), &SPECIAL, 128), None);
    }

    #[test]
    fn an_existing_file_keeps_what_it_says() {
        let bert = r#"{"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "pad_token": {"content": "[PAD]"}, "unk_token": "[UNK]"}"#;
        let mut expected: Value = serde_json::from_str(bert).unwrap();
        expected["eos_token"] = "[SEP]".into();
        assert_eq!(completed(directory(Some(bert)).path(), &SPECIAL, 128), Some(expected.clone()));
        assert_eq!(completed(directory(Some(&expected.to_string())).path(), &SPECIAL, 128), None, "complete");
        let limited = |len: &str| bert.replacen('{', &format!("{{\"model_max_length\": {len}, "), 1);
        for len in ["64", "1000000000000000019884624838656"] {
            assert_eq!(
                completed(directory(Some(&limited(len))).path(), &SPECIAL, 128).unwrap()["model_max_length"],
                128
            );
        }
        let other = SpecialTokens { eos: 9, ..SPECIAL };
        assert_eq!(completed(directory(Some(bert)).path(), &other, 128), None, "no such token to name");
    }
}
