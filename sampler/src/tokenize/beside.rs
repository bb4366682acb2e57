//! What tokenizer_config.json, beside a tokenizer.json, says that contradicts what is done here.
//!
//! Texts are tokenised as tokenizer.json says; a long one keeps its first tokens, and padding follows the last one.
//! transformers goes by tokenizer_config.json where it says otherwise: its tokenizer classes build normalizer and
//! pre-tokenizer from these keys, all but the two that take tokenizer.json as it is. A key that is missing says
//! nothing.

use std::path::Path;

use serde_json::Value;
use tercet_configs::{ModelFolderError, read_json_if_there};

use super::stated::Stated;

/// transformers' classes that take tokenizer.json as it is.
const AS_IT_IS: [&str; 2] = ["PreTrainedTokenizerFast", "TokenizersBackend"];

/// Where files beside a tokenizer.json list tokens that they add.
const ADDED: [&str; 3] = ["added_tokens_decoder", "additional_special_tokens", "extra_special_tokens"];

/// What to do where the two files differ.
const REMEDY: &str = "transformers follows tokenizer_config.json, and texts are tokenised here as tokenizer.json says: \
                      correct the one that is not what the model was trained with, or have transformers write both, as \
                      with AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)";

/// Checks that transformers would make the same tokens with the tokenizer at `tokenizer_json`, which is `stated`.
///
/// # Errors
/// The file with the key that says otherwise, or a tokenizer_config.json that cannot be read.
pub(super) fn check_beside(tokenizer_json: &Path, stated: &Stated) -> Result<(), ModelFolderError> {
    let path = tokenizer_json.with_file_name("tokenizer_config.json");
    let config = read_json_if_there(&path)?.unwrap_or_default();
    check_side("padding", &config, &path, &stated.padding, tokenizer_json)?;
    check_side("truncation", &config, &path, &stated.truncation, tokenizer_json)?;
    let contradicted = |reason| Err(ModelFolderError::new(&path, reason));
    if config["split_special_tokens"] == true {
        return contradicted(
            "split_special_tokens is true, which is not supported: a special token's name in a text is that token here; \
             set it to false"
                .to_owned(),
        );
    }
    let differing = if is_taken_as_it_is(&config, tokenizer_json) { None } else { differing(&config, stated) };
    differing.map_or(Ok(()), |(key, part)| {
        contradicted(format!("{key} is {}, and {part} of tokenizer.json says otherwise: {REMEDY}", config[key]))
    })
}

/// Checks that the tokenizer at `tokenizer_json`, which is `stated`, has the tokens that files beside it add. To
/// transformers a token is one that is found in a text before all else if any of these files says so.
///
/// # Errors
/// The file with the token that tokenizer.json does not add, or a file that cannot be read.
pub(super) fn check_added(tokenizer_json: &Path, stated: &Stated) -> Result<(), ModelFolderError> {
    let read = |name: &str| {
        let path = tokenizer_json.with_file_name(name);
        let json = read_json_if_there(&path)?.unwrap_or_default();
        Ok::<_, ModelFolderError>((path, json))
    };
    let mut files = vec![read("tokenizer_config.json")?];
    if files[0].1.get("added_tokens_decoder").is_none() {
        files.push(read("special_tokens_map.json")?);
        let (path, tokens) = read("added_tokens.json")?;
        // Tokens are its keys.
        let tokens: Vec<&String> = tokens.as_object().into_iter().flat_map(|tokens| tokens.keys()).collect();
        files.push((path, serde_json::json!({ ADDED[0]: tokens })));
    }
    for (path, json) in &files {
        let lacking = ADDED.iter().flat_map(|key| contents(&json[key])).find(|token| !stated.adds(token));
        if let Some(token) = lacking {
            let reason = format!(
                "adds the token {token:?}, which is no added token of tokenizer.json: transformers adds it, and texts are \
                 tokenised here as tokenizer.json says: have transformers write both, as with \
                 AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR), or take it out here if the model was trained \
                 without"
            );
            return Err(ModelFolderError::new(path, reason));
        }
    }
    Ok(())
}

/// The tokens in a list or in an object's values, each by itself or as `content`.
fn contents(tokens: &Value) -> impl Iterator<Item = &str> {
    let listed = tokens.as_array().into_iter().flatten();
    let named = tokens.as_object().into_iter().flat_map(|tokens| tokens.values());
    listed.chain(named).filter_map(|token| token.as_str().or_else(|| token["content"].as_str()))
}

/// Refuses the left side, which tokenizer_config.json states, or else tokenizer.json in its part `what`.
fn check_side(
    what: &str,
    config: &Value,
    config_path: &Path,
    part: &Value,
    tokenizer_json: &Path,
) -> Result<(), ModelFolderError> {
    let key = format!("{what}_side");
    let (path, key, side): (&Path, _, _) = match config[&key].as_str() {
        Some(side) => (config_path, key, side),
        None => (tokenizer_json, format!("{what}.direction"), part["direction"].as_str().unwrap_or("right")),
    };
    if !side.eq_ignore_ascii_case("left") {
        return Ok(());
    }
    let why = match what {
        "padding" => "CLS must be a text's first token",
        _ => "of a text that is too long, the first tokens are kept here",
    };
    let right = if side == "Left" { "Right" } else { "right" };
    let reason = format!(
        "{key} is {side:?}, and only {right:?} is supported: {why}; set it to {right:?}, if that is what the model was \
         made for"
    );
    Err(ModelFolderError::new(path, reason))
}

/// Whether transformers chooses a class that takes tokenizer.json as it is. The class stands in tokenizer_config.json
/// or in the model's config.json; where neither has one, it follows from the model, and is no such class.
fn is_taken_as_it_is(config: &Value, tokenizer_json: &Path) -> bool {
    let of_model = || read_json_if_there(&tokenizer_json.with_file_name("config.json")).ok().flatten();
    let class = match config["tokenizer_class"].as_str() {
        Some(class) => Some(class.to_owned()),
        None => of_model().and_then(|model| model["tokenizer_class"].as_str().map(str::to_owned)),
    };
    class.is_some_and(|class| AS_IT_IS.contains(&class.as_str()))
}

/// The first key of `config` that a part of tokenizer.json contradicts, and that part.
fn differing(config: &Value, stated: &Stated) -> Option<(&'static str, &'static str)> {
    let normalizers = steps(&stated.normalizer, "normalizers");
    let asked_lower = config["do_lower_case"].as_bool();
    let done = Normalized::by(&normalizers);
    // Without a word on accents, BERT's normalizer strips them where it lower-cases.
    let strips = config.get("strip_accents").map(|asked| asked.as_bool().or(asked_lower).unwrap_or(done.lowers));
    let of_bert = [
        ("do_lower_case", asked_lower, done.lowers),
        ("strip_accents", strips, done.strips_accents),
        ("tokenize_chinese_chars", config["tokenize_chinese_chars"].as_bool(), done.cuts_chinese),
    ];
    // Classes of other models leave these keys alone.
    let mut of_bert = of_bert.into_iter().filter(|_| stated.is_word_piece());
    let differs = |asked: Option<bool>, done: bool| asked.is_some_and(|asked| asked != done);
    if let Some((key, ..)) = of_bert.find(|(_, asked, done)| differs(*asked, *done)) {
        return Some((key, "the normalizer"));
    }
    let prefixed = steps(&stated.pre_tokenizer, "pretokenizers").into_iter().find_map(begins_with_space)?;
    let key = "add_prefix_space";
    differs(config[key].as_bool(), prefixed).then_some((key, "the pre-tokenizer"))
}

/// The steps of a part of tokenizer.json, in order; `inside` is where a sequence has them.
fn steps<'a>(part: &'a Value, inside: &str) -> Vec<&'a Value> {
    match part["type"].as_str() {
        None => Vec::new(),
        Some("Sequence") => {
            part[inside].as_array().into_iter().flatten().flat_map(|part| steps(part, inside)).collect()
        }
        Some(_) => vec![part],
    }
}

/// Whether a pre-tokenizer puts a space before a text; none if it is of a kind that cannot.
fn begins_with_space(step: &Value) -> Option<bool> {
    match step["type"].as_str()? {
        "ByteLevel" => step["add_prefix_space"].as_bool(),
        "Metaspace" => Some(match step.get("prepend_scheme") {
            Some(scheme) => scheme != "never",
            None => step["add_prefix_space"] != false,
        }),
        _ => None,
    }
}

/// What a normalizer does of that which BERT's can do.
struct Normalized {
    lowers: bool,
    strips_accents: bool,
    cuts_chinese: bool,
}

impl Normalized {
    fn by(steps: &[&Value]) -> Self {
        let any = |kind: &str, of_bert: &dyn Fn(&Value) -> bool| {
            steps.iter().any(|step| step["type"] == kind || (step["type"] == "BertNormalizer" && of_bert(step)))
        };
        let lowers = |step: &Value| step["lowercase"] == true;
        Self {
            lowers: any("Lowercase", &lowers),
            strips_accents: any("StripAccents", &|step| step["strip_accents"].as_bool().unwrap_or(lowers(step))),
            cuts_chinese: any("", &|step| step["handle_chinese_chars"] == true),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is said of a tokenizer.json with these parts beside a tokenizer_config.json and a config.json.
    fn said(parts: &Value, config: &Value, model: &Value) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, json) in [("tokenizer_config.json", config), ("config.json", model)] {
            std::fs::write(dir.path().join(name), json.to_string()).unwrap();
        }
        let stated: Stated = serde_json::from_value(parts.clone()).unwrap();
        check_beside(&dir.path().join("tokenizer.json"), &stated).err().map(|error| error.to_string())
    }

    fn bert(lowercase: bool, strip_accents: Option<bool>) -> Value {
        json!({"model": {"type": "WordPiece"}, "normalizer": {"type": "BertNormalizer", "lowercase": lowercase,
               "strip_accents": strip_accents, "handle_chinese_chars": true, "clean_text": true}})
    }

    #[test]
    fn what_transformers_would_normalise_otherwise_is_refused_by_its_key() {
        let none = &json!({});
        for (config, parts, key) in [
            (json!({"do_lower_case": false}), bert(true, None), Some("do_lower_case is false")),
            (json!({"do_lower_case": true}), bert(false, None), Some("do_lower_case is true")),
            (json!({"do_lower_case": true}), bert(true, None), None),
            (json!({"strip_accents": false}), bert(true, None), Some("strip_accents is false")),
            (json!({"strip_accents": true}), bert(false, None), Some("strip_accents is true")),
            (json!({"strip_accents": null}), bert(true, Some(false)), Some("strip_accents is null")),
            (json!({"strip_accents": null}), bert(true, Some(true)), None),
            (json!({"strip_accents": null, "do_lower_case": false}), bert(false, None), None),
            (json!({"tokenize_chinese_chars": false}), bert(true, None), Some("tokenize_chinese_chars is false")),
            (json!({"tokenize_chinese_chars": true}), bert(true, None), None),
            (json!({}), bert(false, Some(true)), None),
        ] {
            for class in [Some("BertTokenizer"), Some("BertTokenizerFast"), Some("DistilBertTokenizer"), None] {
                let mut config = config.clone();
                class.into_iter().for_each(|class| config["tokenizer_class"] = class.into());
                let said = said(&parts, &config, none);
                assert_eq!(said.is_some(), key.is_some(), "{config} {parts} {said:?}");
                let full = said.zip(key).is_none_or(|(said, key)| {
                    ["tokenizer_config.json", key, "normalizer of tokenizer.json", "correct the one"]
                        .iter()
                        .all(|word| said.contains(word))
                });
                assert!(full, "{config}");
            }
            let mut as_it_is = config.clone();
            as_it_is["tokenizer_class"] = "PreTrainedTokenizerFast".into();
            assert_eq!(said(&parts, &as_it_is, none), None);
            assert_eq!(said(&parts, &config, &json!({"tokenizer_class": "PreTrainedTokenizerFast"})), None);
            let mut unigram = parts.clone();
            unigram["model"]["type"] = "Unigram".into();
            assert_eq!(said(&unigram, &config, none), None, "no tokenizer of BERT's kind");
        }
        let sequence = json!({"model": {"type": "WordPiece"}, "normalizer":
            {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}});
        assert_eq!(said(&sequence, &json!({"do_lower_case": true}), none), None);
        assert!(said(&sequence, &json!({"strip_accents": true}), none).is_some());
    }

    #[test]
    fn a_space_before_a_text_that_only_one_file_wants_is_refused() {
        let bytes = |prefix: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix});
        let meta = |scheme: &str| json!({"type": "Metaspace", "prepend_scheme": scheme});
        let all = |step: Value| json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, step]});
        for (pre_tokenizer, done) in [
            (bytes(false), false),
            (bytes(true), true),
            (all(meta("always")), true),
            (meta("never"), false),
            (json!({"type": "Metaspace", "add_prefix_space": true}), true),
        ] {
            let parts = json!({"model": {"type": "BPE"}, "pre_tokenizer": pre_tokenizer});
            for asked in [true, false] {
                let said = said(&parts, &json!({"add_prefix_space": asked}), &json!({}));
                assert_eq!(said.is_some(), asked != done, "{pre_tokenizer} {asked} {said:?}");
                let key = format!("add_prefix_space is {asked}, and the pre-tokenizer of tokenizer.json");
                assert!(said.is_none_or(|said| said.contains(&key)));
            }
        }
        let parts = json!({"model": {"type": "BPE"}, "pre_tokenizer": bytes(false)});
        let as_it_is = json!({"add_prefix_space": true, "tokenizer_class": "TokenizersBackend"});
        assert_eq!(said(&parts, &as_it_is, &json!({})), None);
    }

    #[test]
    fn a_token_that_only_a_file_beside_adds_is_refused_by_its_file() {
        let parts = json!({"model": {}, "added_tokens": [{"id": 0, "content": "[A]"}]});
        let stated: Stated = serde_json::from_value(parts).unwrap();
        let said = |files: &[(&str, Value)]| {
            let dir = tempfile::tempdir().unwrap();
            files.iter().for_each(|(name, json)| std::fs::write(dir.path().join(name), json.to_string()).unwrap());
            check_added(&dir.path().join("tokenizer.json"), &stated).err().map(|error| error.to_string())
        };
        let config = "tokenizer_config.json";
        for token in ["[A]", "[B]"] {
            for (name, json) in [
                (config, json!({"added_tokens_decoder": {"0": {"content": token, "special": true}}})),
                (config, json!({"additional_special_tokens": [token]})),
                (config, json!({"extra_special_tokens": {"image": {"content": token}}})),
                ("special_tokens_map.json", json!({"additional_special_tokens": [{"content": token}]})),
                ("added_tokens.json", json!({token: 0})),
            ] {
                let said = said(&[(name, json)]);
                assert_eq!(said.is_some(), token == "[B]", "{name} {said:?}");
                assert!(said.is_none_or(|said| said.contains(name) && said.contains("\"[B]\"")));
            }
        }
        // The newer file stands for the older two.
        let newer = (config, json!({"added_tokens_decoder": {"0": {"content": "[A]"}}}));
        assert_eq!(said(&[newer, ("added_tokens.json", json!({"[B]": 1}))]), None);
        assert_eq!(said(&[]), None);
    }

    #[test]
    fn the_left_side_is_refused_where_it_is_stated() {
        for what in ["padding", "truncation"] {
            let key = &format!("{what}_side");
            let left = json!({"model": {}, what: {"direction": "Left"}});
            let said = |parts: &Value, config: Value| said(parts, &config, &json!({})).unwrap_or_default();
            let neither = json!({"model": {}, what: null});
            assert!(
                said(&neither, json!({key: "left"})).contains(&format!("tokenizer_config.json: {key} is \"left\""))
            );
            assert!(
                said(&left, json!({})).contains(&format!("tokenizer.json: {what}.direction is \"Left\"")),
                "{}",
                said(&left, json!({}))
            );
            assert_eq!(said(&left, json!({key: "right"})), "", "tokenizer_config.json has the first word");
            assert_eq!(said(&neither, json!({})), "");
        }
    }

    #[test]
    fn special_tokens_that_are_cut_and_a_file_that_is_no_json_are_refused() {
        let split = json!({"split_special_tokens": true, "tokenizer_class": "PreTrainedTokenizerFast"});
        assert!(said(&bert(true, None), &split, &json!({})).unwrap().contains("split_special_tokens is true"));
        let dir = tempfile::tempdir().unwrap();
        let stated: Stated = serde_json::from_value(bert(true, None)).unwrap();
        let check = || check_beside(&dir.path().join("tokenizer.json"), &stated);
        check().unwrap();
        std::fs::write(dir.path().join("tokenizer_config.json"), "{").unwrap();
        assert!(check().unwrap_err().to_string().contains("tokenizer_config.json: is not JSON"));
    }
}
