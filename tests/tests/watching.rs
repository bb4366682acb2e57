//! What the launcher notices of ranks that live but get nowhere, and what comes of it: it says who holds the run up,
//! starts the ranks again, and the run ends as if nothing had happened.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tercet_tests::hold::Hold;
use tercet_tests::place::topic_rows;
use tercet_tests::program::{Running, Tercet};
use tercet_tests::scene::{Scene, VOCABULARY, assert_same_run, metrics};
use tercet_tests::shim::{self, Act};

const STEPS: u64 = 40;
const EVERY: u64 = 7;
const RANKS: usize = 2;

/// Seconds without a step after which the recipe calls it a hang. On a machine that is much too busy ordinary steps may
/// be taken for one: that costs a restart more, which the tests allow.
const HANG_SECS: f64 = 5.0;

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
        train.set(format!("restart.hang_secs={HANG_SECS}")).set("restart.backoff_secs=0").set("restart.limit=100")
    }

    /// A run that has a checkpoint and stands still; `hurt` is done to its ranks, and it goes on.
    fn train_and_hurt(&self, run: &str, hurt: impl FnOnce(&[i32])) -> Running {
        train_and_hurt(&self.scene, run, self.train(run), hurt)
    }
}

fn train_and_hurt(scene: &Scene, run: &str, train: Tercet, hurt: impl FnOnce(&[i32])) -> Running {
    let hold = Hold::after(EVERY + 2, &scene.place.path(""), &format!("go-{run}"));
    let (name, value) = hold.variable();
    let mut running = train.env(name, value).start();
    hold.wait(&mut running, RANKS);
    let first = scene.checkpoint(run, EVERY);
    running.wait_until("checkpoint", |_| first.exists());
    hurt(&running.wait_for_ranks(RANKS));
    hold.release();
    running
}

/// The run has failed, was started again, and has come to the same end. Why it failed: the first time after `is_meant`.
fn ends_after_a_failure(scene: &Scene, steps: u64, run: &str, running: Running, is_meant: impl Fn(&str) -> bool) {
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    assert_same_run(scene, run, "whole", steps);
    let text = fs::read_to_string(scene.place.path(run).join("restarts.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert!(!events.is_empty() && events.chunks(2).all(|pair| pair == ["failed", "resumed"]), "{text}");
    let mut whys = lines.iter().filter_map(|line| line["why"].as_str());
    let why = whys.find(|why| is_meant(why)).unwrap_or_else(|| panic!("{text}"));
    assert!(ended.stderr().contains(why), "not said on the terminal: {why}: {}", ended.stderr());
}

/// Its signs of life go on, but its rows do not come.
#[test]
fn a_rank_whose_reading_hangs_is_named_and_the_run_goes_on() {
    let watched = Watched::new();
    let run = watched.train_and_hurt("reading", |ranks| shim::make_thread(ranks[1], "prefetch", Act::Hang));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    ends_after_a_failure(&watched.scene, STEPS, "reading", run, |why| {
        let waiting = why.split_once(" s; ").map_or("", |(_, waiting)| waiting);
        why.starts_with(&format!("rank 1 ({}): reading batch ", host.trim()))
            && waiting.starts_with("rank 0 (")
            && waiting.contains(") waits in ")
    });
}

/// Wherever it stands: in its own work, or in an operation that the other one waits in as well.
#[test]
fn a_rank_whose_training_hangs_is_noticed_and_the_run_goes_on() {
    let watched = Watched::new();
    let run = watched.train_and_hurt("training", |ranks| shim::make(ranks[1], Act::Hang));
    ends_after_a_failure(&watched.scene, STEPS, "training", run, |why| {
        let named =
            ["computing step ", "reading batch ", "stuck in "].map(|doing| why.contains(&format!("): {doing}")));
        why.starts_with("rank 1 (") && named.contains(&true) && why.contains("; rank 0 (")
    });
}

/// The process may have little more memory than it has: enough for what libraries still set up, not for a large tensor.
fn limit_memory(pid: i32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let bytes = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024 + (48 << 20);
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the limit is only read, and no old one is asked for.
    assert_eq!(unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &limit, std::ptr::null_mut()) }, 0);
}

/// Most batches are of short texts; one is of long ones, and needs several times their memory.
#[test]
fn a_rank_that_is_out_of_memory_says_so_and_the_run_goes_on() {
    let lens = (0..216).map(|i| if i % 27 < 2 { 55 } else { 4 + i % 7 });
    let scene = Scene::of(&topic_rows(lens, VOCABULARY), 40, EVERY);
    let path = scene.place.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["intermediate_size"] = 16_384.into();
    fs::write(&path, config.to_string()).unwrap();
    let train = |run: &str| {
        let groups = "data.length_groups=[{max_len=20,global_batch=8},{max_len=64,global_batch=16}]";
        let train = scene.train(run, RANKS).set(groups).set("sub_batch_tokens=100000");
        train.set("restart.backoff_secs=0").set("checkpoint.keep=2")
    };
    train("whole").succeed();
    let steps = metrics(&scene.place.path("whole"));
    let long = 1 + steps.iter().position(|step| step["length_group"] == 1).unwrap() as u64;
    assert!(long > EVERY + 2, "step {long} comes too early to limit the memory before it: choose another seed");

    let run = train_and_hurt(&scene, "short", train("short"), |ranks| limit_memory(ranks[1]));
    let words = ["rank 1/2 ", ": out of memory: ", "you tried to allocate", "lower sub_batch_tokens"];
    ends_after_a_failure(&scene, 40, "short", run, |why| words.iter().all(|word| why.contains(word)));
}
