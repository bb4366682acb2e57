//! The GPU path without a GPU: the programs as they are shipped, on a stand-in of a CUDA device (`tests/stand_in`).
//!
//! The stand-in's operators are the CPU's, so numbers can be held against the CPU's own; its devices are not, so a
//! tensor on the wrong one, memory that the host must not touch, and copies that are not waited for are found. The
//! tests show nothing of a GPU's rounding, speed or driver: docs/change/testing.md.

#![allow(clippy::unwrap_used)]

mod cards;
mod demo;
mod faults;
mod kernels;
mod limits;
mod memory;
mod numbers;
mod operators;
mod pretraining;
mod ranks;
mod settings;
mod texts;
mod training;

use std::path::Path;

use serde_json::Value;
use tercet_tests::place::{Place, golden, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::scene::Scene;
use tercet_tests::stand_in::StandIn;

use crate::bench::BETWEEN_CLOCKS_SECS;

/// `tercet step` of tests/recipes/golden.toml with the nano model.
fn golden_step(tokens: &Path, settings: &[&str]) -> Tercet {
    golden_step_of("nano_xlmr", tokens, settings)
}

fn golden_step_of(nano: &str, tokens: &Path, settings: &[&str]) -> Tercet {
    let step = Tercet::new("step").arg(recipe("golden.toml")).arg("--json");
    let step = step.arg("--model").arg(golden(nano).join("hf")).arg("--tokens").arg(tokens);
    settings.iter().fold(step, |step, setting| step.set(setting))
}

fn report(step: Tercet) -> Value {
    serde_json::from_str(&step.succeed()).unwrap()
}

#[test]
fn doctor_says_that_it_computes_on_the_devices() {
    let Some(devices) = StandIn::new(2) else { return };
    // How fast large products are is nothing that a stand-in can tell, and its verdict on that is not asked for.
    let devices = devices.with("STAND_IN_LARGEST", "1e9");
    let place = Place::new();
    let doctor = Tercet::new("doctor").ranks(2).arg("--json").arg("-");
    let ended = ranks::with_nccl(devices.under(doctor), &place.path("calls")).run();
    let report: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stderr()));
    for rank in report["ranks"].as_array().unwrap() {
        let device = &rank["device"];
        assert_eq!((&device["used"], &device["libtorch_gpus"]), (&Value::from("cuda"), &Value::from(2)), "{device}");
    }
}

/// By events on the device, which are as many clocks as there are phases.
#[test]
fn the_phases_of_bench_sum_to_the_step() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(10, 0);
    let bench = Tercet::new("bench").arg(&scene.recipe).ranks(1).arg("--json").set("precision=fp32");
    let report = report(device.with("STAND_IN_LARGEST", "1e9").under(bench));
    let steps = report["steps"].as_array().unwrap();
    assert!(!steps.is_empty());
    // What else the machine does can come between two clocks, though not in every step.
    let between = steps.iter().map(|step| {
        let phases = step["phase_secs"].as_object().unwrap();
        let sum: f64 = phases.values().map(|secs| secs.as_f64().unwrap()).sum();
        (sum - step["step_secs"].as_f64().unwrap()).abs()
    });
    assert!(between.fold(f64::INFINITY, f64::min) < BETWEEN_CLOCKS_SECS, "{steps:?}");
}
