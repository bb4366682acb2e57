//! `tercet prepare` from the command line: the table, what was skipped, and mistakes.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::stand_in::StandIn;

const GOOD: &str = "{\"query\": \"one\", \"pos\": [\"one two three\"], \"neg\": [\"four five\"]}\n";

fn lab() -> StandIn {
    let lab = StandIn::without_worker();
    lab.write_tokenizer();
    std::fs::write(lab.path("a.jsonl"), GOOD.repeat(3)).unwrap();
    std::fs::write(lab.path("b.jsonl"), format!("{GOOD}{{\"query\": \"one\"}}\n{GOOD}nonsense\n")).unwrap();
    lab
}

fn prepare(lab: &StandIn, words: &str) -> crate::stand_in::Ran {
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
            vec!["data", "set", "rows", "skipped", "duplicates", "tokens", "longest"],
            vec!["a", "3", "0", "2", "18", "5"],
            vec!["more", "5", "2", "4", "30", "5"],
            vec!["all", "8", "2", "6", "48", "5"],
            vec![],
            vec!["language", "rows", "duplicates", "tokens", "longest"],
            vec!["und", "8", "6", "48", "5"],
            vec![],
            vec!["longest", "text", "rows", "share"],
            vec!["5–6", "8", "100.0", "%"],
        ]
    );
    let picture = std::fs::read_to_string(lab.path("store/lengths.svg")).unwrap();
    assert!(picture.contains("5–6 tokens") && picture.contains("more: rows by longest text"), "{picture}");
    assert!(ran.stderr.contains("2 rows were skipped") && ran.stderr.contains("b.jsonl:2: "), "{}", ran.stderr);
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
    for words in [
        "--out store absent.jsonl",
        "--out store a.jsonl --query-max-len 2",
        "--out . a.jsonl",
        "--out b.jsonl a.jsonl",
    ] {
        let ran = prepare(&lab(), words);
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{words}: {}", ran.stderr);
    }
}
