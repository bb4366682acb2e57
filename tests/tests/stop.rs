//! A run that is asked to stop takes a checkpoint of its step, ends with 75, and goes on from there; a run folder has
//! one run at a time.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use tercet_tests::hold::Hold;
use tercet_tests::program::{Tercet, program, send};
use tercet_tests::scene::{Scene, assert_same_run, metrics};
use tercet_tests::shim::{self, Act};

const STEPS: u64 = 12;

/// Where runs are held.
const HELD: u64 = 5;

/// Whoever is asked, and however: all ranks end at the same step, which is kept.
#[test]
fn a_run_stops_in_good_order_and_goes_on() {
    // No checkpoint would be due.
    let scene = Scene::new(STEPS, 0);
    for ranks in [1, 2] {
        let whole = format!("whole-{ranks}");
        scene.train(&whole, ranks).succeed();
        let signals = [("USR1-rank", libc::SIGUSR1), ("TERM-rank", libc::SIGTERM), ("TERM-tercet", libc::SIGTERM)];
        for (how, signal) in signals.into_iter().chain([("INT-tercet", libc::SIGINT), ("USR1-tercet", libc::SIGUSR1)]) {
            let name = format!("{how}-{ranks}");
            let hold = Hold::after(HELD, &scene.place.path(""), &format!("go-{name}"));
            let mut run = hold.on(scene.train(&name, ranks)).start();
            hold.wait(&mut run, ranks);
            if how.ends_with("tercet") {
                // It asks every rank, which ends the wait of each.
                send(run.pid(), signal);
            } else {
                // Any of them.
                send(*run.wait_for_processes("tercet-worker", ranks).last().unwrap(), signal);
                hold.release();
            }
            let ended = run.wait();
            assert_eq!(ended.code, Some(75), "{name}: {}", ended.stderr());
            let step = metrics(&scene.place.path(&name)).len() as u64;
            assert!(step < STEPS, "{name}: the run was over before it could be stopped");
            assert!(
                scene.checkpoint(&name, step).join("manifest.json").is_file(),
                "{name}: a checkpoint of step {step}"
            );
            let text = ended.stderr();
            assert!(text.contains(&format!("stopped after step {step}\n")), "{name}: {text}");
            assert!(text.contains("to go on: tercet train ") && text.contains("--resume"), "{name}: {text}");

            scene.train(&name, ranks).arg("--resume").succeed();
            assert_same_run(&scene, &name, &whole, STEPS);
        }
    }
}

/// Asked while it starts, it ends before its first step, and nothing is lost.
#[test]
fn a_run_can_be_stopped_before_its_first_step() {
    let scene = Scene::new(6, 2);
    let hold = Hold::after(0, &scene.place.path(""), "go");
    let mut run = hold.on(scene.train("run", 2)).start();
    // Wherever they are on their way to the first step.
    run.wait_for_processes("tercet-worker", 2);
    send(run.pid(), libc::SIGUSR1);
    let ended = run.wait();
    assert_eq!(ended.code, Some(75), "{}", ended.stderr());
    scene.train("run", 2).arg("--resume").succeed();
    assert_eq!(metrics(&scene.place.path("run")).len(), 6);
}

/// A rank on its own has no mpirun that would end it: the kernel asks it to stop.
#[test]
fn a_lone_rank_stops_in_good_order_when_its_launcher_is_killed() {
    let scene = Scene::new(STEPS, 0);
    scene.train("whole", 1).succeed();
    let hold = Hold::after(HELD, &scene.place.path(""), "go");
    let mut run = hold.on(scene.train("run", 1)).start();
    hold.wait(&mut run, 1);
    let killed = Instant::now();
    send(run.pid(), libc::SIGKILL);
    run.wait_for_all();
    println!("nothing was left after {:?}", killed.elapsed());
    let step = metrics(&scene.place.path("run")).len() as u64;
    assert!(step < STEPS, "the run was over before its launcher was killed");
    assert!(scene.checkpoint("run", step).join("manifest.json").is_file(), "a checkpoint of step {step}");
    scene.train("run", 1).arg("--resume").succeed();
    assert_same_run(&scene, "run", "whole", STEPS);
}

/// One that hangs cannot stop in good order, and is not left behind either.
#[test]
fn a_lone_rank_that_hangs_does_not_outlive_its_launcher_for_long() {
    let scene = Scene::new(STEPS, 10);
    let library = shim::compile(&scene.place.path(""));
    let hold = Hold::after(2, &scene.place.path(""), "go");
    let mut run = hold.on(scene.train("run", 1)).set("restart.stop_secs=1").env("LD_PRELOAD", library).start();
    hold.wait(&mut run, 1);
    shim::make(run.wait_for_ranks(1)[0], Act::Hang);
    send(run.pid(), libc::SIGKILL);
    run.wait_for_all();
}

/// The checkpoint counts, not how the ranks' processes came to their end after it.
#[test]
fn a_run_that_has_said_that_it_stopped_ends_with_75_whatever_its_ranks_end_with() {
    let scene = Scene::new(2, 0);
    let tercet = scene.place.path("bin/tercet");
    let worker = scene.place.write(
        "bin/tercet-worker",
        "#!/bin/sh\ntrap : USR1\ntouch \"$0.listens\"\nsleep 600 & wait $!\nkill $!\necho '{\"event\":\"stopped\",\"step\":1}'\nexit 1\n",
    );
    fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(program("tercet"), &tercet).unwrap();
    let mut command = Command::new(tercet);
    command.arg("train").arg(&scene.recipe);
    let mut run = Tercet::through(command, 1).ranks(1).start();
    run.wait_until("worker", |_| scene.place.path("bin/tercet-worker.listens").exists());
    send(run.pid(), libc::SIGTERM);
    let ended = run.wait();
    assert_eq!(ended.code, Some(75), "{}", ended.stderr());
}

/// Ranks that cannot finish their step are given up after the recipe's time.
#[test]
fn a_run_that_does_not_stop_is_killed() {
    let scene = Scene::new(STEPS, 10);
    let hold = Hold::after(2, &scene.place.path(""), "go");
    let mut run = hold.on(scene.train("run", 2)).set("restart.stop_secs=2").start();
    hold.wait(&mut run, 2);
    send(run.wait_for_processes("tercet-worker", 2)[1], libc::SIGSTOP);
    send(run.pid(), libc::SIGTERM);
    let ended = run.wait();
    assert_eq!(ended.code, Some(143), "{}", ended.stderr());
}

#[test]
fn a_run_folder_has_one_run_at_a_time() {
    let scene = Scene::new(STEPS, 10);
    let held = |step, name| Hold::after(step, &scene.place.path(""), name);
    let hold = held(2, "go");
    let mut run = hold.on(scene.train("run", 2)).start();
    hold.wait(&mut run, 2);
    let second = scene.train("run", 1).arg("--resume").run();
    second.fails_with(2, &["is in use by process", "on ", "wait for that run or stop it"]);
    // The lock is the process's: a killed one leaves it behind for nobody.
    send(run.pid(), libc::SIGKILL);
    run.wait_for_all();
    let hold = held(HELD, "go-on");
    let mut next = hold.on(scene.train("run", 1)).arg("--resume").start();
    hold.wait(&mut next, 1);
    send(next.pid(), libc::SIGTERM);
    assert_eq!(next.wait().code, Some(75));
}

/// Started at the same moment, only one of them trains.
#[test]
fn of_two_runs_that_begin_together_one_is_refused() {
    let scene = Scene::new(6, 2);
    let (first, second) = (scene.train("run", 1).start(), scene.train("run", 1).start());
    let ended = [first.wait(), second.wait()];
    let mut codes = ended.each_ref().map(|ended| ended.code.unwrap());
    codes.sort_unstable();
    assert_eq!(codes, [0, 2], "{}", ended.each_ref().map(|ended| ended.stderr()).concat());
    assert_eq!(metrics(&scene.place.path("run")).len(), 6);
    assert!(scene.checkpoint("run", 6).join("manifest.json").is_file());
}
