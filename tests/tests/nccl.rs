//! The suite of exactness over the NCCL backend, with the stand-in for NCCL and CUDA that cluster/tests/nccl has: the
//! program as it is shipped, on real ranks, without a GPU.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use tercet_tests::ranks_agree::{self, Backend};

#[allow(dead_code)]
#[path = "../../cluster/tests/nccl/library.rs"]
mod library;

/// The suite's part, and proof that its ranks have been to the library.
fn over_the_stand_in(name: &str, part: impl FnOnce(&Backend)) {
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nccl-calls-{name}-{}", std::process::id()));
    let mut backend = Backend { settings: vec!["backend=nccl".into()], ..Backend::default() };
    let changes: [(&'static str, &str); 1] = [("TERCET_STAND_IN_REPORT", report.to_str().unwrap())];
    let variables = library::stand_in(&changes).into_iter();
    backend.variables = variables.map(|(name, value)| (name.to_owned(), value)).collect();
    part(&backend);
    let calls: Vec<u64> = fs::read_to_string(&report).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert!(calls.len() > 1 && calls.iter().all(|calls| *calls > 0), "{calls:?}: a rank has not used NCCL");
    fs::remove_file(report).unwrap();
}

#[test]
fn step_is_the_same_on_any_ranks() {
    over_the_stand_in("step", ranks_agree::step_is_the_same_on_any_ranks);
}

#[test]
fn mpirun_by_hand_does_the_same() {
    over_the_stand_in("mpirun", ranks_agree::mpirun_by_hand_does_the_same);
}

#[test]
fn gradients_are_the_same_on_any_ranks() {
    over_the_stand_in("gradients", ranks_agree::gradients_are_the_same_on_any_ranks);
}
