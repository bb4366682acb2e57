//! Signals to the launcher: every rank is gone within 5 seconds, and none is left behind.
#![allow(clippy::unwrap_used, missing_docs)]

mod stand_in;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use stand_in::StandIn;

/// Ranks leave their process id in the folder and sleep.
const SLEEPER: &str = "echo $$ > pid-${OMPI_COMM_WORLD_RANK:-0}; exec sleep 60";

/// The same, but deaf to polite signals.
const STUBBORN: &str = "trap '' INT TERM HUP USR1; echo $$ > pid-${OMPI_COMM_WORLD_RANK:-0}; exec sleep 60";

fn started(lab: &StandIn, ranks: usize, script: &str) -> (Child, Vec<PathBuf>) {
    let mut command = lab.tercet(&format!("train r.toml --set restart.stop_secs=3 -n {ranks}"), script);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let processes = (0..ranks).map(|rank| {
        let file = lab.path(&format!("pid-{rank}"));
        wait_for("the ranks to start", || std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')));
        PathBuf::from("/proc").join(std::fs::read_to_string(file).unwrap().trim())
    });
    let processes = processes.collect();
    (child, processes)
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
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
            let (mut child, processes) = started(&lab, ranks, SLEEPER);
            send(&child, signal);
            let mut ended = None;
            let took = wait_for("the launcher", || {
                ended = child.try_wait().unwrap();
                ended.is_some()
            });
            assert_eq!(ended.unwrap().code(), Some(code));
            assert!(took < Duration::from_secs(5), "{signal} with {ranks} ranks took {took:?}");
            assert!(processes.iter().all(|process| gone(process)), "{signal} with {ranks} ranks");
        }
    }
}

#[test]
fn ranks_that_do_not_listen_are_killed() {
    for ranks in [1, 2] {
        let lab = StandIn::new();
        let (mut child, processes) = started(&lab, ranks, STUBBORN);
        send(&child, "-TERM");
        let took = wait_for("the launcher", || child.try_wait().unwrap().is_some());
        assert!(took < Duration::from_millis(6500), "{ranks} ranks took {took:?}");
        assert!(processes.iter().all(|process| gone(process)), "{ranks} ranks");
    }
}

#[test]
fn a_second_signal_does_not_wait() {
    let lab = StandIn::new();
    let (mut child, processes) = started(&lab, 1, STUBBORN);
    send(&child, "-INT");
    std::thread::sleep(Duration::from_millis(200));
    send(&child, "-INT");
    let took = wait_for("the launcher", || child.try_wait().unwrap().is_some());
    assert!(took < Duration::from_secs(2), "took {took:?}");
    assert!(processes.iter().all(|process| gone(process)));
}

#[test]
fn a_killed_launcher_leaves_no_worker() {
    // One rank only: ranks under mpirun end because their connection to it breaks, and a stand-in has none.
    let lab = StandIn::new();
    let (mut child, processes) = started(&lab, 1, SLEEPER);
    send(&child, "-KILL");
    child.wait().unwrap();
    let took = wait_for("the worker", || processes.iter().all(|process| gone(process)));
    assert!(took < Duration::from_secs(5), "took {took:?}");
}
