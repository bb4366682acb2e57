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

#[test]
fn texts_alone_are_cut_split_or_packed_into_rows() {
    let lab = lab();
    std::fs::write(lab.path("t.txt"), "one two three four five\n\none\ntwo three\n").unwrap();
    std::fs::write(lab.path("t.jsonl"), "{\"text\": \"one two\", \"lang\": \"en\"}\n").unwrap();
    // Rows, tokens and the longest row of both sets together.
    for (options, expected, said) in [
        ("", ["4", "10", "7"], None),
        ("--text-max-len 5", ["4", "8", "5"], Some("1 texts were cut (at 5 tokens)")),
        ("--text-max-len 5 --long split", ["5", "10", "5"], Some("data set t: 3 texts are 4 rows")),
        // An EOS between `four five` and `one` would leave no room.
        ("--text-max-len 5 --long split --pack", ["5", "10", "5"], Some("data set t: 3 texts are 4 rows")),
        ("--text-max-len 6 --long split --pack", ["4", "11", "6"], None),
    ] {
        let _ = std::fs::remove_dir_all(lab.path("store"));
        let ran = prepare(&lab, &format!("--out store {options} --texts t.txt --texts en=t.jsonl"));
        assert_eq!(ran.code, Some(0), "{options}: {}", ran.stderr);
        let all = ran.stdout.lines().find(|line| line.starts_with("all")).unwrap();
        let all: Vec<&str> = all.split_whitespace().collect();
        assert_eq!([all[1], all[4], all[5]], expected, "{options}: {}", ran.stdout);
        assert!(said.is_none_or(|said| ran.stderr.contains(said)), "{options}: {}", ran.stderr);
        let text = std::fs::read_to_string(lab.path("store/manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(manifest["datasets"].as_array().unwrap().iter().all(|dataset| dataset["holds"] == "texts"), "{text}");
    }
}

#[test]
fn texts_alone_go_on_by_the_same_command_only() {
    let lab = lab();
    let texts = "{\"text\": \"one two three\"}\n".repeat(20);
    std::fs::write(lab.path("t.jsonl"), format!("{texts}{{\"content\": \"one\"}}\n")).unwrap();
    let words = "--out store --rows-per-shard 3 --text-max-len 9 --pack --texts t.jsonl";
    let ran = prepare(&lab, words);
    assert!(ran.code == Some(4) && ran.stderr.contains("t.jsonl:21: \"text\" is missing"), "{}", ran.stderr);
    assert!(lab.path("store/t/shard-00001.json").exists(), "{}", ran.stderr);
    for other in [words.replace("--pack", "--long split"), words.replace("9", "10"), words.replace(" --pack", "")] {
        let ran = prepare(&lab, &other);
        assert!(ran.stderr.contains("unfinished store of another command"), "{other}: {}", ran.stderr);
        assert_eq!(ran.code, Some(2));
    }
}

#[test]
fn what_belongs_to_texts_alone_and_to_rows_is_not_mixed() {
    let lab = lab();
    std::fs::write(lab.path("t.txt"), "one two\n").unwrap();
    for (words, said) in [
        ("--pack a.jsonl", "--texts"),
        ("--long split a.jsonl", "--texts"),
        ("--text-max-len 9 a.jsonl", "--texts"),
        ("--texts t.txt --passage-max-len 9", "--passage-max-len"),
        ("--texts t.txt --text-max-len 2", "text_max_len is 2"),
        ("--texts t.txt a.jsonl", "no run takes both, so prepare a store of each"),
        ("", "<NAME=FILE"),
    ] {
        let ran = prepare(&lab, &format!("--out store {words}"));
        assert_eq!(ran.code, Some(2), "{words}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{words}: {}", ran.stderr);
        assert!(!lab.path("store").exists());
    }
    let ran = prepare(&lab, "--out store t=a.jsonl --help");
    assert!(ran.stdout.contains("has a text on each line"), "{}", ran.stdout);
}
