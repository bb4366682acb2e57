//! The GPU path without a GPU: the programs as they are shipped, on a stand-in of a CUDA device (`tests/stand_in`).
//!
//! The stand-in's operators are the CPU's, so numbers can be held against the CPU's own; its devices are not, so a
//! tensor on the wrong one, memory that the host must not touch, and copies that are not waited for are found. The tests
//! show nothing of a GPU's rounding, speed or driver: docs/change/testing.md.

#![allow(clippy::unwrap_used)]

mod demo;
mod faults;
mod limits;
mod memory;
mod numbers;
mod operators;
mod ranks;
mod texts;
mod training;

use std::path::Path;

use serde_json::Value;
use tercet_tests::place::{golden, recipe};
use tercet_tests::program::Tercet;

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
