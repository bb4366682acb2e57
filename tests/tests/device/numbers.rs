//! The published trainer's cases on the device: the CPU's numbers up to rounding, in every precision.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use tercet_tests::batch::TokenBatch;
use tercet_tests::compare::{matrix, number, same_step};
use tercet_tests::place::{Place, golden};
use tercet_tests::stand_in::StandIn;

use super::{golden_step_of, report};

/// Folder, and what differs from tests/recipes/golden.toml.
const CASES: [(&str, &[&str]); 8] = [
    ("nano_xlmr/unified_distill", &[]),
    ("nano_xlmr/unified", &["loss.distill=false"]),
    ("nano_xlmr/dense_only", &["loss.preset=dense"]),
    ("nano_xlmr/mean_pool", &["model.pooling=mean"]),
    ("nano_xlmr/no_norm", &["model.normalize=false", "loss.temperature=1"]),
    ("nano_xlmr/temp05", &["loss.temperature=0.5", "loss.preset=paper-v1"]),
    ("nano_xlmr/short_pad", &["loss.preset=independent"]),
    ("nano_bert/unified_distill", &[]),
];

/// How much further from float64 the device may be in bfloat16 than the CPU is, over all cases: both round some hundred
/// times, at other places. One case alone says nothing: its loss on either may be several times further off.
const LEEWAY: f64 = 2.0;
/// The same for each head's scores, of which there are hundreds.
const LEEWAY_OF_SCORES: f64 = 1.4;

/// Batches of made-up tokens for each model, besides those cases, whose texts are the same.
const MADE_UP: u64 = 10;

/// A step of a golden model.
struct Step {
    nano: &'static str,
    tokens: PathBuf,
    settings: &'static [&'static str],
}

impl Step {
    fn of_case((folder, settings): (&'static str, &'static [&'static str])) -> Self {
        let nano = folder.split('/').next().unwrap();
        Self { nano, tokens: golden(folder).join("tensors.safetensors"), settings }
    }

    fn made_up(place: &Place, nano: &'static str, seed: u64) -> Self {
        let tokens = place.path(&format!("{nano}-{seed}.safetensors"));
        TokenBatch::even(seed, 4, 4, (9, 18), 60).write(&tokens);
        Self { nano, tokens, settings: &["loss.distill=false"] }
    }

    /// The report on the device, or on the CPU without one.
    fn report(&self, precision: &str, device: Option<&StandIn>) -> Value {
        let settings = [self.settings, &[precision]].concat();
        let step = golden_step_of(self.nano, &self.tokens, &settings);
        report(match device {
            Some(device) => device.under(step),
            None => step,
        })
    }
}

#[test]
fn the_published_trainers_cases_are_the_cpus_in_float64_and_float32() {
    let Some(device) = StandIn::new(1) else { return };
    for case in CASES {
        let (folder, step) = (case.0, Step::of_case(case));
        let found = step.report("precision=fp64", Some(&device));
        same_step(folder, &found, &step.report("precision=fp64", None), 1e-12);
        let single = step.report("precision=fp32", Some(&device));
        same_step(&format!("{folder} in float32"), &single, &found, 1e-4);
    }
}

/// Every number of a report that is not 0 in `exact`: how far off it is, relative.
fn errors(found: &Value, exact: &Value) -> Vec<f64> {
    let error = |found: &Value, exact: &Value| (number(found) - number(exact)).abs() / number(exact).abs();
    let mut all = vec![error(&found["loss"], &exact["loss"])];
    for part in ["terms", "param_grad_norm"] {
        let names = exact[part].as_object().unwrap().iter();
        let names = names.filter(|(name, value)| number(value) != 0.0 && !name.ends_with("self.key.bias"));
        all.extend(names.map(|(name, exact)| error(&found[part][name], exact)));
    }
    all
}

/// A head's scores in a report: how far off each is, relative to the root of their mean square.
fn errors_of_scores(found: &Value, exact: &Value) -> Vec<f64> {
    let (found, exact) = (matrix(found), matrix(exact));
    let scale = mean(&exact);
    // Texts that share no word have no lexical scores.
    let errors = found.iter().zip(&exact).map(|(found, exact)| (found - exact) / scale);
    errors.filter(|_| scale > 0.0).collect()
}

/// The root of the mean square.
fn mean(errors: &[f64]) -> f64 {
    (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt()
}

#[test]
fn bfloat16_is_as_exact_as_on_the_cpu() {
    let Some(device) = StandIn::new(1) else { return };
    let mut all: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    let place = Place::new();
    let made_up = |nano| (0..MADE_UP).map(move |seed| (nano, seed));
    let made_up = made_up("nano_xlmr").chain(made_up("nano_bert"));
    let made_up = made_up.map(|(nano, seed)| Step::made_up(&place, nano, seed));
    for step in CASES.into_iter().map(Step::of_case).chain(made_up) {
        let exact = step.report("precision=fp64", None);
        for (at, device) in [Some(&device), None].into_iter().enumerate() {
            let report = step.report("precision=bf16", device);
            let mut add = |what: &str, errors: &[f64]| all.entry(what.to_owned()).or_default()[at].extend(errors);
            let found = errors(&report, &exact);
            add("losses", &found[..1]);
            add("losses, terms and gradients", &found);
            for (head, exact) in exact["scores"].as_object().unwrap() {
                add(&format!("{head} scores"), &errors_of_scores(&report["scores"][head], exact));
            }
        }
    }
    for (what, errors) in &all {
        let [device, cpu] = errors.each_ref().map(|errors| mean(errors));
        println!("{what}: off by {device:.1e} on the device and by {cpu:.1e} on the CPU");
        let leeway = if what.ends_with("scores") { LEEWAY_OF_SCORES } else { LEEWAY };
        assert!(device <= leeway * cpu, "{what}: off by {device:e} on the device and by {cpu:e} on the CPU");
    }
}
