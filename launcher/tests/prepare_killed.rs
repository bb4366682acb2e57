//! `tercet prepare`, killed: the same command goes on, and the store in the end is the one made at a stretch.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::stand_in::StandIn;
use crate::word_rows::rows;

const COMMAND: &str = "prepare --tokenizer tokenizer.json --on-error skip --drop-duplicates --rows-per-shard 97";

fn lab() -> StandIn {
    let lab = StandIn::without_worker();
    lab.write_tokenizer();
    std::fs::write(lab.path("a.jsonl"), rows(2_000)).unwrap();
    std::fs::write(lab.path("b.jsonl"), rows(400)).unwrap();
    lab
}

/// Every file of the folder with its content; the picture is drawn when the store is finished already.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if !path.ends_with("lengths.svg") {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn start(lab: &StandIn, store: &str) -> Child {
    let words = format!("{COMMAND} --out {store} a.jsonl both=b.jsonl,a.jsonl");
    Command::new(env!("CARGO_BIN_EXE_tercet"))
        .current_dir(lab.path(""))
        .args(words.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_moment_it_goes_on_to_the_same_store() {
    let lab = lab();
    assert!(start(&lab, "whole").wait().unwrap().success());
    let whole = files(&lab.path("whole"));
    assert!(whole.len() > 45 && whole.keys().all(|name| name.ends_with(".arrow") || !name.contains('/')));

    let (mut num_killed, mut num_resumed) = (0, 0);
    for round in 0_u64..3 {
        let store = format!("store{round}");
        for attempt in 0_u64.. {
            let began_with = lab.path(&store).join("a/shard-00003.json").exists();
            let mut child = start(&lab, &store);
            // Later and later, and each round at other moments, so that it ends some time.
            std::thread::sleep(Duration::from_millis(5 + round * 7 + attempt * (11 + 4 * round)));
            child.kill().unwrap();
            let done = child.wait_with_output().unwrap();
            if done.status.success() {
                break;
            }
            let message = String::from_utf8_lossy(&done.stderr).into_owned();
            if message.contains("holds a token store") {
                break;
            }
            assert_eq!(done.status.code(), None, "killed, not failed: {message}");
            num_killed += 1;
            num_resumed += u32::from(began_with);
        }
        assert_eq!(files(&lab.path(&store)), whole, "round {round}");
    }
    assert!(num_killed > 6 && num_resumed > 2, "{num_killed} kills, {num_resumed} of them of a resumed attempt");
}

#[test]
fn another_command_does_not_go_on_with_it() {
    let lab = lab();
    let mut child = start(&lab, "store");
    while !lab.path("store/a/shard-00001.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended too soon");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = lab.run(&format!("{COMMAND} --out store --query-max-len 16 a.jsonl both=b.jsonl,a.jsonl"), "");
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
