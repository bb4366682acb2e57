//! The suite of exactness over the NCCL backend, with the stand-in for NCCL and CUDA that cluster/tests/nccl has: the
//! program as it is shipped, on real ranks, without a GPU.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use tercet_tests::place::Place;
use tercet_tests::ranks_agree::{self, Backend};

use crate::sharded_state::{self, Way};

#[allow(dead_code)]
#[path = "../../cluster/tests/nccl/library.rs"]
pub(crate) mod library;

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

/// On 3 ranks the parts of the last buckets differ in length: the weights are those of a run whose state is whole, and
/// NCCL gets no operation with a root.
#[test]
fn a_sharded_runs_parts_are_reduced_and_gathered_by_one_call_each() {
    let place = Place::new();
    sharded_state::recipe(&place);
    for (run, sharded) in [("whole", false), ("sharded", true)] {
        let report = place.path(&format!("kinds-{run}"));
        let variables = library::stand_in(&[("TERCET_STAND_IN_KINDS", report.to_str().unwrap())]);
        let way = Way { more: &["--set", "backend=nccl"], variables: &variables };
        sharded_state::train(&place, run, 3, sharded, way);
        let kinds = fs::read_to_string(&report).unwrap();
        assert_eq!(kinds.lines().count(), 3, "{kinds}");
        for line in kinds.lines() {
            assert!(line.contains("reduce-scatter ") == sharded && line.contains("all-gather ") == sharded, "{line}");
            assert!(!line.contains("broadcast"), "{line}");
        }
    }
    sharded_state::assert_same_state(&place, "sharded", "whole");
}

#[test]
fn mpirun_by_hand_does_the_same() {
    over_the_stand_in("mpirun", ranks_agree::mpirun_by_hand_does_the_same);
}

#[test]
fn gradients_are_the_same_on_any_ranks() {
    over_the_stand_in("gradients", ranks_agree::gradients_are_the_same_on_any_ranks);
}
