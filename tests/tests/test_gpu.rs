//! `tercet-test-gpu`, which `make test-gpu` starts: the whole of it, in small, on stand-ins of CUDA devices and of
//! NCCL; the parts that are no larger on a card, as they are there; and what it says where something is wrong. Its
//! figures mean nothing here.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use tercet_tests::place::Place;
use tercet_tests::program::{Tercet, program};
use tercet_tests::stand_in::StandIn;

use crate::nccl::library;

/// Two devices of so little memory that it is soon used up, on which the largest products are not done.
fn devices() -> Option<StandIn> {
    Some(StandIn::new(2)?.with_mib(1024).with("STAND_IN_LARGEST", "1e9"))
}

fn test_gpu(place: &Place, words: &[&str]) -> Tercet {
    let mut command = Command::new(program("tercet-test-gpu"));
    command.arg("--out").arg(place.path("out")).args(words);
    // The worker and the launcher are started by it.
    let _ = (program("tercet"), program("tercet-worker"));
    Tercet::through(command, 2)
}

/// The same on the stand-ins, the variables changed.
fn on_stand_ins(place: &Place, devices: &StandIn, words: &[&str], changes: &[(&'static str, &str)]) -> Tercet {
    let changes: Vec<_> = [&[("TERCET_STAND_IN_GPUS", "2")], changes].concat();
    let nccl = library::stand_in(&changes);
    let tercet = test_gpu(place, words).with_gpus();
    let tercet = devices.variables().fold(tercet, |tercet, (name, value)| tercet.env(name, value));
    nccl.into_iter().fold(tercet, |tercet, (name, value)| tercet.env(name, value))
}

/// How each part ended, and the whole report.
fn outcomes(place: &Place) -> (BTreeMap<String, String>, Value) {
    let report = std::fs::read(place.path("out/report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let parts = report["parts"].as_array().unwrap();
    (parts.iter().map(|part| (text(&part["name"]), text(&part["outcome"]))).collect(), report)
}

/// Cases of the part `golden`, and those that `--small` does.
const CASES: usize = 15;
const IN_SMALL: usize = 3;

/// The steps that the part `golden` has compared on this GPU.
fn compared_on(report: &Value, gpu: usize) -> usize {
    let golden = report["parts"].as_array().unwrap().iter().find(|part| part["name"] == "golden").unwrap();
    golden["figures"]["steps"].as_array().unwrap().iter().filter(|step| step["gpu"] == gpu).count()
}

#[test]
fn everything_runs_in_small_and_is_right() {
    let Some(devices) = devices() else { return };
    let place = Place::new();
    let ended = on_stand_ins(&place, &devices, &["--small"], &[]).run();
    let (outcomes, report) = outcomes(&place);
    let page = std::fs::read_to_string(place.path("out/report.md")).unwrap();
    assert!(outcomes.values().all(|outcome| outcome == "ok"), "{outcomes:?}\n{page}\n{}", ended.stderr());
    assert_eq!((ended.code, outcomes.len(), &report["all_right"]), (Some(0), 10, &Value::Bool(true)));
    assert!(ended.stdout.contains("out/report.md") && ended.stdout.contains("out/report.json"), "{}", ended.stdout);
    assert!(!place.path("out/work").exists() && page.contains("| fp64 |"), "{page}");
    assert_eq!(compared_on(&report, 0), 3 * IN_SMALL);
    assert_eq!(compared_on(&report, 1), 3, "a case in each precision");
    // It may be sent to others.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let text = report.to_string();
    assert!(
        !text.contains(&format!("\"{}\"", host.trim())) && !text.contains(place.path("out").to_str().unwrap()),
        "{text}"
    );
}

#[test]
fn every_case_and_run_that_a_card_is_compared_by_is_right() {
    // A model as wide as large ones has products that count.
    let Some(devices) = devices().map(|devices| devices.with("STAND_IN_LARGEST", "1e12")) else { return };
    let place = Place::new();
    let ended = on_stand_ins(&place, &devices, &["--only", "golden,training"], &[]).run();
    let (outcomes, report) = outcomes(&place);
    assert_eq!((&outcomes["golden"][..], &outcomes["training"][..]), ("ok", "ok"), "{}", ended.stderr());
    assert_eq!((ended.code, compared_on(&report, 0), compared_on(&report, 1)), (Some(0), 3 * CASES, 3));
}

#[test]
fn a_part_that_fails_is_told_and_the_rest_goes_on() {
    let Some(devices) = devices() else { return };
    let place = Place::new();
    let words = ["--small", "--only", "collectives,attention"];
    let ended = on_stand_ins(&place, &devices, &words, &[("TERCET_STAND_IN_VERSION", "21602")]).run();
    let (outcomes, report) = outcomes(&place);
    assert_eq!((&outcomes["collectives"][..], &outcomes["attention"][..]), ("failed", "ok"), "{}", ended.stderr());
    assert_eq!((ended.code, &outcomes["golden"][..]), (Some(1), "not_asked_for"));
    assert!(ended.stderr().contains("no usable NCCL"), "{}", ended.stderr());
    assert!(report.to_string().contains("is version 2.16.2"), "{report}");
}

#[test]
fn where_there_is_no_gpu_a_sentence_says_so_and_nothing_counts() {
    let place = Place::new();
    test_gpu(&place, &["--small"]).run().fails_with(2, &["there is no GPU here", "Nothing was tried"]);
    assert!(!place.path("out").exists());
}
