//! A small tokenizer.json like XLM-RoBERTa's: SentencePiece's table of replacements, meta spaces, a Unigram model.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};
use yada::builder::DoubleArrayBuilder;

/// The table's replacements, in the order of the bytes. A control character is removed, white space becomes a space,
/// two characters become one, one becomes two, full width becomes half, and jamo become a syllable.
const REPLACED: [(&str, &str); 14] = [
    ("\u{1}", ""),
    ("\t", " "),
    ("\n", " "),
    ("\r", " "),
    ("e\u{301}", "é"),
    ("\u{a0}", " "),
    ("\u{308}", "¨"),
    ("\u{1100}\u{1161}", "가"),
    ("\u{1161}\u{301}", "ab"),
    ("\u{200d}", ""),
    ("\u{2028}", " "),
    ("\u{3000}", " "),
    ("ﬁ", "fi"),
    ("Ａ", "A"),
];

/// Pieces and their scores, after the four special tokens. "zq" is less likely than two unknown characters.
const PIECES: [(&str, f64); 26] = [
    ("▁", -2.5),
    ("a", -3.0),
    ("b", -3.25),
    ("c", -3.5),
    ("e", -3.0),
    ("é", -4.0),
    ("fi", -5.0),
    ("f", -6.0),
    ("i", -6.0),
    ("ab", -5.0),
    ("abc", -8.5),
    ("▁ab", -4.0),
    ("▁a", -4.5),
    ("bc", -6.75),
    ("A", -5.0),
    ("水", -4.0),
    ("橋", -4.0),
    ("水橋", -7.0),
    ("ก", -3.0),
    ("กิ", -4.0),
    ("가", -5.0),
    ("\u{1f600}", -5.0),
    (" ", -9.0),
    ("zq", -60.0),
    ("ab", -5.5),
    ("<mask>", 0.0),
];

/// SentencePiece's binary form of [`REPLACED`]: a double array of offsets into the replacements, followed by the
/// replacements.
fn charsmap() -> Vec<u8> {
    let mut replacements = Vec::new();
    let keys: Vec<(&[u8], u32)> = REPLACED
        .iter()
        .map(|(key, replacement)| {
            let offset = replacements.len() as u32;
            replacements.extend(replacement.bytes().chain([0]));
            (key.as_bytes(), offset)
        })
        .collect();
    let trie = DoubleArrayBuilder::build(&keys).unwrap();
    [&(trie.len() as u32).to_le_bytes()[..], &trie, &replacements].concat()
}

/// The normalizers and pre-tokenizers by which the tokenizers of this family differ.
pub fn variants() -> Vec<(Value, Value)> {
    let charsmap = serde_json::to_value(Precompiled::from(&charsmap()).unwrap()).unwrap();
    let replace = |content: &str| json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content});
    let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
    let meta_space = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let old_meta_space = json!({"type": "Metaspace", "replacement": "▁", "add_prefix_space": true, "str_rep": "▁"});
    let sequence = |steps: &[&Value]| json!({"type": "Sequence", "normalizers": steps});
    let white_space = json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, old_meta_space]});
    vec![
        (charsmap.clone(), white_space),
        (sequence(&[&charsmap, &replace(" ")]), meta_space.clone()),
        (sequence(&[&charsmap, &strip, &replace("▁")]), meta_space),
    ]
}

/// Writes the tokenizer with this normalizer and pre-tokenizer.
pub fn write(dir: &Path, (normalizer, pre_tokenizer): (Value, Value)) -> PathBuf {
    let special = ["<s>", "<pad>", "</s>", "<unk>"];
    let vocab = special.map(|token| (token, 0.0)).into_iter().chain(PIECES);
    let vocab = vocab.map(|(piece, score)| (piece.to_owned(), score)).collect();
    let mut tokenizer = Tokenizer::new(Unigram::from(vocab, Some(3), false).unwrap());
    let processor = TemplateProcessing::builder()
        .try_single("<s> $A </s>")
        .unwrap()
        .special_tokens(vec![("<s>", 0), ("</s>", 2)])
        .build()
        .unwrap();
    tokenizer.with_post_processor(Some(processor));
    tokenizer.add_special_tokens(special.map(|token| AddedToken::from(token, true))).unwrap();
    tokenizer.add_special_tokens([AddedToken::from("<mask>", true).lstrip(true)]).unwrap();
    let mut json: Value = serde_json::from_str(&tokenizer.to_string(false).unwrap()).unwrap();
    json["normalizer"] = normalizer;
    json["pre_tokenizer"] = pre_tokenizer;
    let path = dir.join("tokenizer.json");
    std::fs::write(&path, json.to_string()).unwrap();
    path
}
