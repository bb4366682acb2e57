//! What the launcher notices of ranks that live but get nowhere, and what comes of it: it says who holds the run up, starts
//! the ranks again, and the run ends as if nothing had happened.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::Value;
use tercet_tests::program::{Running, Tercet};
use tercet_tests::scene::{Scene, assert_same_run};
use tercet_tests::shim::{self, Act};

const STEPS: u64 = 150;
const EVERY: u64 = 7;
const RANKS: usize = 2;

/// Seconds without a step after which the recipe calls it a hang.
const HANG_SECS: f64 = 3.0;

/// What to train, and the library that ranks hang with.
struct Watched {
    scene: Scene,
    library: PathBuf,
}

impl Watched {
    fn new() -> Self {
        let scene = Scene::new(STEPS, EVERY);
        let library = shim::compile(&scene.place.path(""));
        scene.train("whole", RANKS).succeed();
        Self { scene, library }
    }

    fn train(&self, run: &str) -> Tercet {
        let train = self.scene.train(run, RANKS).env("LD_PRELOAD", &self.library);
        train.set(format!("restart.hang_secs={HANG_SECS}")).set("restart.backoff_secs=0")
    }

    /// A run that has done a few steps.
    fn train_some_steps(&self, run: &str) -> Running {
        let mut running = self.train(run).start();
        let first = self.scene.checkpoint(run, EVERY);
        running.wait_until("checkpoint", |_| first.exists());
        running
    }

    /// The run has failed once, was started again, and has come to the same end. Why it failed.
    fn ends_after_a_failure(&self, run: &str, running: Running, hurt: Instant) -> String {
        let ended = running.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr());
        assert_same_run(&self.scene, run, "whole", STEPS);
        let text = fs::read_to_string(self.scene.place.path(run).join("restarts.jsonl")).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["failed", "resumed"], "{text}");
        let why = lines[0]["why"].as_str().unwrap().to_owned();
        let said = ended.words.iter().find(|(_, line)| line.contains(&why)).expect("it is said on the terminal, too");
        println!("{run}: said after {:?}: {why}; {}", said.0 - hurt, lines[1]);
        why
    }
}

/// Its signs of life go on, but its rows do not come.
#[test]
fn a_rank_whose_reading_hangs_is_named_and_the_run_goes_on() {
    let watched = Watched::new();
    let mut run = watched.train_some_steps("reading");
    shim::make_thread(run.wait_for_ranks(RANKS)[1], "prefetch", Act::Hang);
    let why = watched.ends_after_a_failure("reading", run, Instant::now());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(why.starts_with(&format!("rank 1 ({}): reading batch ", host.trim())), "{why}");
    let (_, waiting) = why.split_once(" s; ").unwrap();
    assert!(waiting.starts_with("rank 0 (") && waiting.contains(") waits in "), "{why}");
}

/// Wherever it stands: in its own work, or in an operation that the other one waits in as well.
#[test]
fn a_rank_whose_training_hangs_is_noticed_and_the_run_goes_on() {
    let watched = Watched::new();
    let mut run = watched.train_some_steps("training");
    shim::make(run.wait_for_ranks(RANKS)[1], Act::Hang);
    let why = watched.ends_after_a_failure("training", run, Instant::now());
    let own_work = why.contains("): computing step ") || why.contains("): reading batch ");
    let at_work = why.starts_with("rank 1 (") && own_work && why.contains("; rank 0 (");
    let in_operation = why.starts_with("no step for ") && why.contains("no rank is at work; ");
    assert!(at_work || in_operation, "{why}");
}
