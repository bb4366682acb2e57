//! Signals to the launcher: every rank ends, and none is left behind.
//!
//! What would go wrong shows in what ends the ranks, not in how long it takes: where the recipe's time to stop is not
//! to pass, it is longer than [`PATIENCE`], and so is the ranks' sleep.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::stand_in::StandIn;

/// What takes so long has failed, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ranks leave their process id in the folder and sleep.
const SLEEPER: &str = "echo $$ > pid-${OMPI_COMM_WORLD_RANK:-0}; exec sleep 1000";

/// The same, but deaf to polite signals.
const STUBBORN: &str = "trap '' INT TERM HUP USR1; echo $$ > pid-${OMPI_COMM_WORLD_RANK:-0}; exec sleep 1000";

/// Notes that it was asked, and stays.
const LISTENING: &str =
    "trap 'echo > asked' INT TERM USR1; echo $$ > pid-${OMPI_COMM_WORLD_RANK:-0}; while :; do sleep 0.1; done";

fn started(lab: &StandIn, ranks: usize, stop_secs: u64, script: &str) -> (Child, Vec<PathBuf>) {
    let mut command = lab.tercet(&format!("train r.toml --set restart.stop_secs={stop_secs} -n {ranks}"), script);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let processes = (0..ranks).map(|rank| {
        let file = lab.path(&format!("pid-{rank}"));
        wait_for("the ranks to start", || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
        PathBuf::from("/proc").join(std::fs::read_to_string(file).unwrap().trim())
    });
    let processes = processes.collect();
    (child, processes)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn gone(process: &Path) -> bool {
    // A zombie waits for its parent, not for us.
    std::fs::read_to_string(process.join("stat")).map_or(true, |stat| stat.contains(") Z "))
}

fn send(child: &Child, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_signal_ends_every_rank_and_the_launcher_says_which() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        for ranks in [1, 2] {
            let lab = StandIn::new();
            let (mut child, processes) = started(&lab, ranks, 1000, SLEEPER);
            send(&child, signal);
            let mut ended = None;
            wait_for("the launcher", || {
                ended = child.try_wait().unwrap();
                ended.is_some()
            });
            assert_eq!(ended.unwrap().code(), Some(code));
            assert!(processes.iter().all(|process| gone(process)), "{signal} with {ranks} ranks");
        }
    }
}

#[test]
fn ranks_that_do_not_listen_are_killed() {
    for ranks in [1, 2] {
        let lab = StandIn::new();
        let (mut child, processes) = started(&lab, ranks, 3, STUBBORN);
        send(&child, "-TERM");
        wait_for("the launcher", || child.try_wait().unwrap().is_some());
        assert!(processes.iter().all(|process| gone(process)), "{ranks} ranks");
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let lab = StandIn::new();
    let (mut child, processes) = started(&lab, 1, 1000, LISTENING);
    send(&child, "-INT");
    wait_for("the launcher to pass the first one on", || lab.path("asked").exists());
    send(&child, "-INT");
    wait_for("the launcher", || child.try_wait().unwrap().is_some());
    assert!(processes.iter().all(|process| gone(process)));
}

#[test]
fn a_killed_launcher_leaves_no_worker() {
    // One rank only: ranks under mpirun end because their connection to it breaks, and a stand-in has none.
    let lab = StandIn::new();
    let (mut child, processes) = started(&lab, 1, 1000, SLEEPER);
    send(&child, "-KILL");
    child.wait().unwrap();
    wait_for("the worker", || processes.iter().all(|process| gone(process)));
}
