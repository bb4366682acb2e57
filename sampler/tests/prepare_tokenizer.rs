//! The tokenizer: content without special tokens, and which those are.

#![allow(clippy::unwrap_used)]

use tercet_configs::ExitCode;
use tercet_sampler::{SpecialTokens, TextTokenizer};

#[test]
fn content_has_no_special_tokens_and_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = TextTokenizer::load(&crate::word_tokenizer::write(dir.path())).unwrap();
    assert_eq!(*tokenizer.special(), SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3 });
    assert_eq!(tokenizer.vocab_size(), 4 + crate::word_tokenizer::WORDS.len());
    let text = "river stone bridge water under über 橋 lava";
    assert_eq!(tokenizer.encode_content(text).unwrap(), [4, 5, 6, 7, 8, 9, 10, 3]);
    assert_eq!(tokenizer.encode_content("").unwrap(), [0_u32; 0]);
    assert_eq!(tokenizer.encode_contents(&["stone", "", "river river"]).unwrap(), [vec![5], vec![], vec![4, 4]]);
}

#[test]
fn a_framed_text_is_what_the_tokenizer_itself_makes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let ours = TextTokenizer::load(&path).unwrap();
    // The file's own truncation is at 5 tokens.
    let theirs = tokenizers::Tokenizer::from_file(&path).unwrap();
    for text in ["river", "river stone bridge", "river stone bridge water under", ""] {
        let content = ours.encode_content(text).unwrap();
        assert_eq!(ours.frame(&content, 5), theirs.encode(text, true).unwrap().get_ids(), "{text:?}");
    }
}

#[test]
fn the_hash_is_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = crate::word_tokenizer::write(dir.path());
    let expected = blake3::hash(&std::fs::read(&path).unwrap()).to_hex().to_string();
    assert_eq!(TextTokenizer::load(&path).unwrap().hash(), expected);
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

    std::fs::write(&path, "{\"model\": 3}").unwrap();
    let error = TextTokenizer::load(&path).unwrap_err();
    assert!(error.to_string().contains("not a tokenizer.json"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Data);
}
