//! `tercet prepare`, stopped by a malformed line: the same command goes on, and the store in the end is the one made at
//! a stretch. (That it may be killed at any moment is tested with the whole system's.)
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use crate::stand_in::StandIn;
use crate::word_rows::rows;

fn lab() -> StandIn {
    let lab = StandIn::without_worker();
    lab.write_tokenizer();
    lab
}

/// Every file of the folder with its content.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn another_command_does_not_go_on_with_it() {
    let lab = lab();
    // It stops at the first malformed line, after some shards.
    std::fs::write(lab.path("b.jsonl"), crate::word_rows::good_rows(200) + "{\"query\": 3}\n").unwrap();
    let words = "prepare --tokenizer tokenizer.json --rows-per-shard 97 --out store b.jsonl";
    let ran = lab.run(words, "");
    assert!(ran.code == Some(4) && lab.path("store/b/shard-00001.json").exists(), "{}", ran.stderr);
    let ran = lab.run(&format!("{words} --query-max-len 16"), "");
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("holds an unfinished store of another command"), "{}", ran.stderr);
}

#[test]
fn a_mended_file_is_read_from_its_beginning_and_finished_sets_are_kept() {
    let lab = lab();
    let bad = rows(1_000).replace("\"seed\": 700,", "\"seed\": 700");
    std::fs::write(lab.path("b.jsonl"), bad).unwrap();
    let words = "prepare --tokenizer tokenizer.json --rows-per-shard 97 --out store a=a.jsonl b=b.jsonl";
    std::fs::write(lab.path("a.jsonl"), crate::word_rows::good_rows(500)).unwrap();
    let ran = lab.run(words, "");
    assert_eq!(ran.code, Some(4), "{}", ran.stderr);
    assert!(ran.stderr.contains("b.jsonl:") && ran.stderr.contains("store keeps what is finished"), "{}", ran.stderr);
    let kept = std::fs::read(lab.path("store/a/dataset.json")).unwrap();

    std::fs::write(lab.path("b.jsonl"), crate::word_rows::good_rows(900)).unwrap();
    let ran = lab.run(words, "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!kept.is_empty() && !lab.path("store/a/dataset.json").exists());
    let again = lab.run(&words.replace("store", "whole"), "");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(files(&lab.path("store")), files(&lab.path("whole")));
}
