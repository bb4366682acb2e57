//! The tokenizer: it gives content without special tokens, and tells which tokens those are.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tercet_configs::ExitCode;
use tercet_sampler::{SpecialTokens, TextInput, TextTokenizer, not_in_table};

#[test]
fn content_has_no_special_tokens_and_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = TextTokenizer::load(&crate::word_tokenizer::write(dir.path())).unwrap();
    assert_eq!(*tokenizer.special(), SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None });
    let text = "river stone bridge water under über 橋 lava";
    assert_eq!(tokenizer.encode_content(text).unwrap(), [4, 5, 6, 7, 8, 9, 10, 3]);
    assert_eq!(tokenizer.encode_content("").unwrap(), [0_u32; 0]);
    assert_eq!(tokenizer.encode_contents(&["stone", "", "river river"]).unwrap(), [vec![5], vec![], vec![4, 4]]);
}

#[test]
fn a_mask_is_found_by_its_name_and_is_no_need() {
    let dir = tempfile::tempdir().unwrap();
    for (mask, expected) in [("<mask>", Some(6)), ("[MASK]", Some(6)), ("<Mask>", None)] {
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, tercet_fixtures::word_tokenizer(["river", "stone", mask]).to_string()).unwrap();
        let special = *TextTokenizer::load(&path).unwrap().special();
        assert_eq!(special.mask, expected, "{mask}");
        assert_eq!((special.ids(), special.max_id(), special.contains(6)), ([0, 2, 1, 3], 3, expected.is_some()));
    }
}

#[test]
fn a_framed_text_is_what_the_tokenizer_itself_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let ours = TextTokenizer::load(&path).unwrap();
    // The file's own truncation cuts at 5 tokens.
    let theirs = tokenizers::Tokenizer::from_file(&path).unwrap();
    for text in ["river", "river stone bridge", "river stone bridge water under", ""] {
        let content = ours.encode_content(text).unwrap();
        let expected: Vec<i64> = theirs.encode(text, true).unwrap().get_ids().iter().copied().map(i64::from).collect();
        assert_eq!(TextInput::framed(ours.special(), &[], &content, 5).ids, expected, "{text:?}");
    }
}

#[test]
fn the_hash_is_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let hash = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(TextTokenizer::load(&path).unwrap().hash(), hash(&bytes));
    // A checkpoint's copy has no byte order mark.
    std::fs::write(&path, ["\u{feff}".as_bytes(), &bytes].concat()).unwrap();
    assert_eq!(TextTokenizer::load(&path).unwrap().hash(), hash(&bytes));
}

#[test]
fn what_the_library_gives_up_on_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let good: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let refused = |part: &str, value: Value| {
        let mut json = good.clone();
        json[part] = value;
        std::fs::write(&path, json.to_string()).unwrap();
        let error = TextTokenizer::load(&path).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json: "), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Data);
    };
    refused("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": null}));
    let mut undeclared = good["post_processor"].clone();
    undeclared["special_tokens"].as_object_mut().unwrap().remove("<s>");
    refused("post_processor", undeclared);
    let merges = json!({"type": "BPE", "vocab": {"<unk>": 0, "a": 1, "b": 2}, "merges": ["a b"], "unk_token": "<unk>"});
    refused("model", merges);
}

#[test]
fn token_types_other_than_the_first_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    json["post_processor"]["single"][1]["Sequence"]["type_id"] = 1.into();
    std::fs::write(&path, json.to_string()).unwrap();
    let error = TextTokenizer::load(&path).unwrap_err();
    assert!(error.to_string().contains("tokens of a single text the type 1, and only type 0 is supported"), "{error}");
}

#[test]
fn what_cannot_frame_or_pad_a_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["post_processor"]["single"].as_array_mut().unwrap().remove(0);
    std::fs::write(&path, json.to_string()).unwrap();
    let error = TextTokenizer::load(&path).unwrap_err();
    assert!(error.to_string().contains("one special token before and one after"), "{error}");

    let path = crate::word_tokenizer::write(dir.path());
    let text = std::fs::read_to_string(&path).unwrap().replace("<pad>", "<filler>");
    std::fs::write(&path, text).unwrap();
    let error = TextTokenizer::load(&path).unwrap_err();
    assert!(error.to_string().contains("no padding token: neither <pad> nor [PAD]"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Data);
}

#[test]
fn a_missing_or_broken_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let error = TextTokenizer::load(&path).unwrap_err();
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);

    std::fs::write(dir.path().join("vocab.txt"), "").unwrap();
    for asked in [path.as_path(), dir.path()] {
        let error = TextTokenizer::load(asked).unwrap_err();
        assert!(error.to_string().contains("tokenizer.json: is not there, but vocab.txt is"), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }

    for (name, content) in [("vocab.txt", "[PAD]\n"), ("vocab.json", "{\"a\": 0}"), ("own.model", "\n\u{e}")] {
        let asked = dir.path().join(name);
        std::fs::write(&asked, content).unwrap();
        let error = TextTokenizer::load(&asked).unwrap_err();
        assert!(error.to_string().contains(&format!("{name}: is a vocabulary")), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }

    std::fs::write(&path, "{\"model\": 3}").unwrap();
    let error = TextTokenizer::load(dir.path()).unwrap_err();
    assert!(error.to_string().contains("not a tokenizer.json"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Data);
}

#[test]
fn ids_that_the_vocabulary_has_otherwise_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(crate::word_tokenizer::write(dir.path())).unwrap();
    let path = dir.path().join("changed.json");
    let bert = serde_json::json!({"type": "BertProcessing", "cls": ["<s>", 0], "sep": ["</s>", 5]});
    let roberta = serde_json::json!({"type": "RobertaProcessing", "cls": ["<s>", 7], "sep": ["</s>", 2], "trim_offsets": true, "add_prefix_space": false});
    for (pointer, value, expected) in [
        (
            "/post_processor/special_tokens/<s>/ids",
            serde_json::json!([5]),
            "names id 5 for \"<s>\", which its vocabulary has as id 0",
        ),
        ("/post_processor/special_tokens/<~1s>/ids", serde_json::json!([500]), "names id 500 for \"</s>\""),
        ("/post_processor", bert, "names id 5 for \"</s>\""),
        ("/post_processor", serde_json::json!({"type": "Sequence", "processors": [roberta]}), "names id 7 for \"<s>\""),
        ("/added_tokens/3/id", 9.into(), "its added_tokens names id 9 for \"<unk>\", which its vocabulary has as id 3"),
    ] {
        let mut json: serde_json::Value = serde_json::from_str(&good).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&path, json.to_string()).unwrap();
        let error = TextTokenizer::load(&path).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Data);
    }
}

#[test]
fn the_unknown_token_is_the_models_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let text = std::fs::read_to_string(&path).unwrap().replace("<unk>", "<|unk|>");
    std::fs::write(&path, text).unwrap();
    assert_eq!(TextTokenizer::load(&path).unwrap().special().unk, 3);
}

#[test]
fn texts_of_which_no_token_is_left_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["normalizer"] = serde_json::json!({"type": "Replace", "pattern": {"String": "\u{200b}"}, "content": ""});
    std::fs::write(&path, json.to_string()).unwrap();
    let tokenizer = TextTokenizer::load(&path).unwrap();
    let (nothing, late) = ("\u{200b}".repeat(200), "\u{200b}".repeat(200) + "river");
    let texts = ["river", "\u{200b}", " ", "", nothing.as_str(), late.as_str()];
    assert_eq!(tokenizer.tokenless(&texts).unwrap(), [1, 2, 3, 4]);
}

#[test]
fn a_token_without_an_embedding_is_named_with_its_likely_causes() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let reason = not_in_table(5, 5, Some(&path));
    assert!(reason.starts_with("token \"stone\" (id 5 of ") && reason.contains("resize_token_embeddings"), "{reason}");
    let reason = not_in_table(50, 12, Some(&path));
    assert!(reason.contains("does not have among its 12 tokens") && reason.contains("another model's"), "{reason}");
    assert!(not_in_table(50, 12, None).starts_with("token id 50 does not fit the model's vocabulary of 12: "));
}
