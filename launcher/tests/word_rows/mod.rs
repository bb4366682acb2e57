//! A tokenizer that knows five words, and rows of them.
#![allow(dead_code)]

/// With the special tokens of XLM-RoBERTa.
pub const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 1, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 3, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
  "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
  "model": {"type": "WordLevel", "unk_token": "<unk>",
    "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "one": 4, "two": 5, "three": 6, "four": 7, "five": 8}}}"#;

const WORDS: [&str; 5] = ["one", "two", "three", "four", "five"];

fn text(seed: usize) -> String {
    let num_words = 1 + seed * 7919 % 13;
    (0..num_words).map(|i| WORDS[(seed * 31 + i * i) % 5]).collect::<Vec<_>>().join(" ")
}

/// Rows that are all good, some of them twice, in several languages.
pub fn good_rows(num_rows: usize) -> String {
    let row = |i: usize| {
        let seed = i * 17 % (num_rows - num_rows / 10).max(1);
        let neg: Vec<String> = (0..seed % 4).map(|j| format!("\"{}\"", text(seed + j))).collect();
        let language = ["en", "de", "zh"][seed % 3];
        format!(
            "{{\"seed\": {i}, \"lang\": \"{language}\", \"query\": \"{}\", \"pos\": [\"{} {seed}\"], \"neg\": [{}]}}\n",
            text(seed),
            text(seed + 5),
            neg.join(", ")
        )
    };
    (0..num_rows).map(row).collect()
}

/// As [`good_rows`], with a malformed line here and there.
pub fn rows(num_rows: usize) -> String {
    let mut rows = String::new();
    for (i, line) in good_rows(num_rows).lines().enumerate() {
        rows += line;
        rows += if i % 41 == 40 { "\n{\"query\": 3}\n" } else { "\n" };
    }
    rows
}
