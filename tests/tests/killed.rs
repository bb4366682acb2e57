//! A run that is killed at any moment leaves checkpoints that are complete, and goes on from the newest as if nothing
//! had happened.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tercet_tests::program::program;
use tercet_tests::random::Random;
use tercet_tests::scene::{Scene, assert_same_run};
use tercet_tests::slots;

const STEPS: u64 = 200;
const KILLS: usize = 30;

/// The worker itself, without a launcher that would see to its end.
fn resume(scene: &Scene, run: &str) -> Child {
    let mut command = Command::new(program("tercet-worker"));
    command.arg("train").arg(&scene.recipe).arg("--resume");
    command.args(["--set", &format!("run_dir={}", scene.place.path(run).display())]);
    command.args(["--set", "checkpoint.keep=2"]).env("OMP_WAIT_POLICY", "passive");
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
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

#[test]
fn a_run_that_is_killed_at_many_moments() {
    let scene = Scene::new(STEPS, 1);
    scene.train("whole", 1).set("checkpoint.keep=2").succeed();
    let run_dir = scene.place.path("killed");
    let mut random = Random::new(11);
    let (mut kills, mut while_writing) = (0, 0);
    {
        let _slot = slots::take(1);
        for round in 0..KILLS {
            let (before, left) = (newest(&run_dir), names(&run_dir, ".step-"));
            let mut child = resume(&scene, "killed");
            // One in three is killed while it starts; the others some time after their first checkpoint.
            if round % 3 > 0 {
                while newest(&run_dir) == before && child.try_wait().unwrap().is_none() {
                    sleep(Duration::from_millis(1));
                }
                sleep(Duration::from_micros(random.within(0..60_000) as u64));
            } else {
                sleep(Duration::from_millis(random.within(0..500) as u64));
            }
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let torn = names(&run_dir, ".step-").iter().any(|name| !left.contains(name));
            while_writing += usize::from(torn);
        }
    }
    println!(
        "{kills} kills, {while_writing} of them while a checkpoint was written or removed; then {:?}",
        newest(&run_dir)
    );
    assert!(kills >= KILLS / 2 && while_writing > 0, "the run is too short to be killed: raise STEPS");

    scene.train("killed", 1).set("checkpoint.keep=2").arg("--resume").succeed();
    assert_same_run(&scene, "killed", "whole", STEPS);
    let log = fs::read_to_string(run_dir.join("train.log")).unwrap();
    assert!(!log.contains("trying the one before"), "a checkpoint was there that was not complete: {log}");
    assert!(names(&run_dir, ".").is_empty(), "what interrupted writers left is gone");
    assert_eq!(names(&run_dir, "step-").len(), 2);
}
