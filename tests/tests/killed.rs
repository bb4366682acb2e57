//! A run that is killed at any moment leaves checkpoints that are complete, and goes on from the newest as if nothing
//! had happened.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{sleep, yield_now};
use std::time::Duration;

use tercet_tests::hold::Hold;
use tercet_tests::program::program;
use tercet_tests::random::Random;
use tercet_tests::scene::{Scene, assert_same_run};
use tercet_tests::slots;

const STEPS: u64 = 200;
const KILLS: usize = 30;

/// Steps that a run gets at most before it is killed: it stands still after them.
const STEPS_A_ROUND: u64 = 6;

/// The worker itself, without a launcher that would see to its end.
fn resume(scene: &Scene, run: &str, hold: &Hold) -> Child {
    let mut command = Command::new(program("tercet-worker"));
    command.arg("train").arg(&scene.recipe).arg("--resume");
    command.args(["--set", &format!("run_dir={}", scene.place.path(run).display())]);
    command.args(["--set", "checkpoint.keep=2"]).env("OMP_WAIT_POLICY", "passive");
    let (name, value) = hold.variable();
    command.env(name, value).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Names in the run folder that begin with `prefix`.
fn names(run_dir: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(run_dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn newest(run_dir: &Path) -> Option<String> {
    names(run_dir, "step-").into_iter().max()
}

/// Its end, if it should have come, is an error: nothing but the kill ends it.
fn wait_until(child: &mut Child, met: impl Fn() -> bool) {
    while !met() {
        assert!(child.try_wait().unwrap().is_none(), "the worker ended before it was killed");
        yield_now();
    }
}

#[test]
fn a_run_that_is_killed_at_many_moments() {
    let scene = Scene::new(STEPS, 1);
    scene.train("whole", 1).set("checkpoint.keep=2").succeed();
    let run_dir = scene.place.path("killed");
    let mut random = Random::new(11);
    let mut while_writing = 0;
    {
        let _slot = slots::take(1);
        for round in 0..KILLS {
            let before = newest(&run_dir);
            let done = before.as_deref().map_or(0, |name| name.trim_start_matches("step-").parse::<u64>().unwrap());
            let hold = Hold::after(done + STEPS_A_ROUND, &scene.place.path(""), &format!("go-{round}"));
            let mut child = resume(&scene, "killed", &hold);
            let is_torn = || !names(&run_dir, ".step-").is_empty();
            // A moment of its start, of the writing of its first checkpoint, and any moment later. The pauses are no
            // wait for anything: they choose the moment.
            match round % 3 {
                0 => sleep(Duration::from_millis(random.within(0..500) as u64)),
                1 => {
                    // What the one before has left goes first.
                    wait_until(&mut child, || !is_torn());
                    wait_until(&mut child, || is_torn() || hold.has(1));
                }
                _ => {
                    wait_until(&mut child, || newest(&run_dir) != before);
                    sleep(Duration::from_micros(random.within(0..60_000) as u64));
                }
            }
            assert!(child.try_wait().unwrap().is_none(), "the worker ended before it was killed");
            child.kill().unwrap();
            child.wait().unwrap();
            while_writing += usize::from(round % 3 == 1 && is_torn());
        }
    }
    println!(
        "{KILLS} kills, {while_writing} of them certainly while a checkpoint was written; then {:?}",
        newest(&run_dir)
    );
    assert!(while_writing > 0, "a checkpoint that is begun is complete before the kill");

    scene.train("killed", 1).set("checkpoint.keep=2").arg("--resume").succeed();
    assert_same_run(&scene, "killed", "whole", STEPS);
    let log = fs::read_to_string(run_dir.join("train.log")).unwrap();
    assert!(!log.contains("trying the one before"), "a checkpoint was there that was not complete: {log}");
    assert!(names(&run_dir, ".").is_empty(), "what interrupted writers left is gone");
    assert_eq!(names(&run_dir, "step-").len(), 2);
}
