//! Several ranks with a device each, over MPI and over NCCL's stand-in: what one rank on the CPU computes.

use std::path::Path;

use serde_json::Value;
use tercet_tests::batch::TokenBatch;
use tercet_tests::compare::same_step;
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;
use tercet_tests::scene::{Scene, assert_same_run};
use tercet_tests::stand_in::StandIn;

use super::{golden_step, report};
use crate::nccl::library;

/// Ranks, and objective and cut as overrides.
const RUNS: [(usize, &[&str]); 4] = [
    (2, &["loss.preset=unified", "sub_batch_tokens=64", "kept_graph_tokens=100"]),
    (3, &["loss.preset=paper-v1", "sub_batch_texts=3", "kept_graph_tokens=0"]),
    (4, &["data.negatives=own", "sub_batch_texts=1", "kept_graph_tokens=0"]),
    (4, &["loss.teacher=kl_div", "data.two_way=false", "kept_graph_tokens=1000000"]),
];

/// Batches that three ranks share equally.
const BATCHES: &str = "data.length_groups=[{max_len=64,global_batch=6}]";

/// The command, with the variables by which it finds NCCL's stand-in, which reports how often it was called.
pub(super) fn with_nccl(tercet: Tercet, report: &Path) -> Tercet {
    let nccl = library::stand_in(&[("TERCET_STAND_IN_REPORT", report.to_str().unwrap())]);
    nccl.into_iter().fold(tercet, |tercet, (name, value)| tercet.env(name, value))
}

/// The same on devices, by a backend of the recipe's.
pub(super) fn over(backend: &str, devices: &StandIn, tercet: Tercet, report: &Path) -> Tercet {
    with_nccl(devices.under(tercet).set(format!("backend={backend}")), report)
}

/// Whether every one of `ranks` ranks has used NCCL, or none has.
fn assert_used(backend: &str, report: &Path, ranks: usize) {
    let calls = std::fs::read_to_string(report).unwrap_or_default();
    assert_eq!(calls.lines().filter(|calls| *calls != "0").count(), if backend == "nccl" { ranks } else { 0 });
    let _ = std::fs::remove_file(report);
}

fn on_ranks(backend: &str) {
    let Some(devices) = StandIn::new(4) else { return };
    let place = Place::new();
    let (tokens, calls) = (place.path("batch.safetensors"), place.path("calls"));
    TokenBatch::random(1, 8, 3, 32).write(&tokens);
    for (ranks, settings) in RUNS {
        let settings = [settings, &["precision=fp64"]].concat();
        let expected = report(golden_step(&tokens, &settings).ranks(1));
        let found: Value = report(over(backend, &devices, golden_step(&tokens, &settings).ranks(ranks), &calls));
        assert_eq!(found["world_size"], ranks);
        same_step(&format!("{backend}: {settings:?} on {ranks} ranks"), &found, &expected, 1e-10);
        assert_used(backend, &calls, ranks);
    }
}

#[test]
fn ranks_over_mpi_compute_what_one_does() {
    on_ranks("mpi");
}

#[test]
fn ranks_over_nccl_compute_what_one_does() {
    on_ranks("nccl");
}

/// Three ranks, whose parts of a bucket are uneven; and from the middle it goes on to the same bits.
#[test]
fn a_sharded_run_over_nccl_is_the_whole_one_and_resumes() {
    let Some(devices) = StandIn::new(3) else { return };
    let scene = Scene::new(4, 2);
    let calls = scene.place.path("calls");
    for (run, sharded) in [("whole", false), ("sharded", true)] {
        let train = scene.train(run, 3).set(BATCHES).set("precision=fp32");
        let train = train.set(format!("optimizer.shard_state={sharded}"));
        over("nccl", &devices, train, &calls).succeed();
        assert_used("nccl", &calls, 3);
    }
    assert_same_run(&scene, "sharded", "whole", 4);
    scene.copy_until("sharded", 2, "resumed");
    let train = scene.train("resumed", 3).set(BATCHES).set("precision=fp32").set("optimizer.shard_state=true");
    let train = train.arg("--resume");
    over("nccl", &devices, train, &calls).succeed();
    assert_same_run(&scene, "resumed", "whole", 4);
}
