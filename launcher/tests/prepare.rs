//! `tercet prepare` from the command line: the table, what was skipped, and mistakes.
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use stand_in::StandIn;

/// A tokenizer that knows five words, with the special tokens of XLM-RoBERTa.
const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
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

const GOOD: &str = "{\"query\": \"one\", \"pos\": [\"one two three\"], \"neg\": [\"four five\"]}\n";

fn lab() -> StandIn {
    let lab = StandIn::without_worker();
    std::fs::write(lab.path("tokenizer.json"), TOKENIZER).unwrap();
    std::fs::write(lab.path("a.jsonl"), GOOD.repeat(3)).unwrap();
    std::fs::write(lab.path("b.jsonl"), format!("{GOOD}{{\"query\": \"one\"}}\n{GOOD}nonsense\n")).unwrap();
    lab
}

fn prepare(lab: &StandIn, words: &str) -> stand_in::Ran {
    lab.run(&format!("prepare --tokenizer tokenizer.json {words}"), "")
}

#[test]
fn the_table_has_every_data_set_and_the_sum() {
    let lab = lab();
    let ran = prepare(&lab, "--out store --on-error skip a.jsonl more=b.jsonl,a.jsonl");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let table: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        table,
        [
            vec!["data", "set", "rows", "skipped", "tokens", "longest"],
            vec!["a", "3", "0", "18", "5"],
            vec!["more", "5", "2", "30", "5"],
            vec!["all", "8", "2", "48", "5"],
        ]
    );
    assert!(ran.stderr.contains("2 lines were skipped") && ran.stderr.contains("b.jsonl:2: "), "{}", ran.stderr);
    assert!(lab.path("store/manifest.json").exists());
}

#[test]
fn what_was_cut_is_said() {
    let ran = prepare(&lab(), "--out store --passage-max-len 4 a.jsonl");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("3 texts were cut (queries at 512 tokens, passages at 4)"), "{}", ran.stderr);
}

#[test]
fn a_malformed_line_stops_with_file_line_and_reason() {
    let lab = lab();
    let ran = prepare(&lab, "--out store b.jsonl");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("tercet: ") && ran.stderr.contains("b.jsonl"), "{}", ran.stderr);
    assert!(ran.stderr.contains('2') && ran.stderr.contains("pos"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(!lab.path("store").exists());
}

#[test]
fn a_wrong_path_is_a_mistake_of_the_user() {
    for words in ["--out store absent.jsonl", "--out store a.jsonl --query-max-len 2", "--out . a.jsonl"] {
        let ran = prepare(&lab(), words);
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{words}: {}", ran.stderr);
    }
}
