//! `memory_budget`: a run stays within it, uses it, computes the same whatever it is, and says so when it cannot be
//! kept.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;

const VOCABULARY: usize = 500;
const HIDDEN: usize = 128;
const MIB: u64 = 1 << 20;

/// 40 rows of up to 500 words, four to a batch, and a model whose graphs are larger than itself.
fn recipe(place: &Place) -> PathBuf {
    let store = place.store("store", (0..40).map(|i| 20 + (i * 97) % 480), VOCABULARY);
    let config = ModelConfig { num_layers: 6, ..ModelConfig::of_width(HIDDEN, VOCABULARY, 512) };
    let config = place.model_config("config.json", &config);
    let recipe = RecipeBuilder::new("fitted", 6).fresh_model(&config, &place.path("store-tokenizer.json"));
    let recipe = recipe.data(&store, [16, 512], 2).length_groups(&[(512, 8)]).set("sub_batch_tokens", 1024);
    place.recipe("recipe.toml", &recipe)
}

fn train(place: &Place, recipe: &Path, budget: &str, ranks: usize) -> Tercet {
    let run_dir = place.path(&format!("run-{budget}-{ranks}"));
    let command = Tercet::new("train").arg(recipe).ranks(ranks).alone().set(format!("run_dir={}", run_dir.display()));
    // The two libraries of products round differently, and each run would choose by itself.
    command.set(format!("memory_budget=\"{budget}\"")).set("cpu_matmul=onednn")
}

/// The lines of metrics.jsonl, and the log.
fn trained(place: &Place, recipe: &Path, budget: &str, ranks: usize) -> (Vec<Value>, String) {
    train(place, recipe, budget, ranks).succeed();
    let read = |name: &str| std::fs::read_to_string(place.path(&format!("run-{budget}-{ranks}")).join(name)).unwrap();
    (read("metrics.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect(), read("train.log"))
}

fn kept_tokens(log: &str) -> u64 {
    let (_, rest) = log.split_once("the rest keeps the graphs of ").unwrap();
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

#[test]
fn a_run_stays_within_its_budget_and_a_larger_one_keeps_more_and_changes_nothing() {
    let place = Place::new();
    let recipe = recipe(&place);
    for ranks in [1, 2] {
        let mut before: Option<(Vec<Value>, u64)> = None;
        for budget in [420, 480, 700] {
            let (steps, log) = trained(&place, &recipe, &format!("{budget}MiB"), ranks);
            let peak = steps.iter().map(|step| step["peak_rss_bytes"].as_u64().unwrap()).max().unwrap();
            println!("{budget} MiB, {ranks} ranks: at most {} MiB, {} tokens kept", peak / MIB, kept_tokens(&log));
            assert!(peak <= budget * MIB, "{budget} MiB, {ranks} ranks: {peak} bytes\n{log}");
            if let Some((steps_before, kept_before)) = before {
                assert!(kept_tokens(&log) > kept_before, "{log}");
                for (step, step_before) in steps.iter().zip(&steps_before) {
                    assert_eq!(step["loss"], step_before["loss"]);
                }
            }
            before = Some((steps, kept_tokens(&log)));
        }
    }
}

#[test]
fn auto_takes_what_is_free() {
    let place = Place::new();
    let recipe = recipe(&place);
    let (_, log) = trained(&place, &recipe, "auto", 1);
    assert!(kept_tokens(&log) > 10_000, "{log}");
}

#[test]
fn a_recipe_that_says_nothing_of_memory_keeps_graphs_and_computes_the_same_as_one_that_keeps_none() {
    let place = Place::new();
    let recipe = recipe(&place);
    let trained = |name: &str, settings: &[&str]| {
        let run_dir = place.path(name);
        let command = Tercet::new("train").arg(&recipe).ranks(1).alone().set(format!("run_dir={}", run_dir.display()));
        settings.iter().fold(command, |command, setting| command.set(*setting)).succeed();
        let read = |file: &str| std::fs::read_to_string(run_dir.join(file)).unwrap();
        let losses = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].clone();
        (read("metrics.jsonl").lines().map(losses).collect::<Vec<_>>(), read("train.log"))
    };
    let (losses, log) = trained("unasked", &["cpu_matmul=onednn"]);
    assert!(kept_tokens(&log) > 10_000, "{log}");
    let (losses_without, log) = trained("none", &["cpu_matmul=onednn", "kept_graph_tokens=0"]);
    assert!(!log.contains("keeps the graphs"), "{log}");
    assert_eq!(losses, losses_without);
}

#[test]
fn the_library_of_products_is_chosen_and_told_of_and_a_resumed_run_keeps_it() {
    let place = Place::new();
    let recipe = recipe(&place);
    let run_dir = place.path("chosen");
    let train = || Tercet::new("train").arg(&recipe).ranks(2).alone().set(format!("run_dir={}", run_dir.display()));
    train().set("checkpoint.every_steps=3").set("checkpoint.keep=0").succeed();
    let timed = |log: &str| log.matches("matrix products of ").count();
    let read = |name: &str| std::fs::read_to_string(run_dir.join(name)).unwrap();
    assert_eq!(timed(&read("train.log")), 1, "{}", read("train.log"));
    let state =
        |step: u32| -> Value { serde_json::from_str(&read(&format!("step-{step:08}/train/state.json"))).unwrap() };
    assert!(state(3)["cpu_matmul"]["forward"].is_string(), "{}", state(3));
    std::fs::remove_dir_all(run_dir.join("step-00000006")).unwrap();
    train().arg("--resume").succeed();
    assert_eq!(timed(&read("train.log")), 1, "{}", read("train.log"));
    assert_eq!(state(6)["cpu_matmul"], state(3)["cpu_matmul"]);
}

#[test]
fn a_budget_that_cannot_hold_a_step() {
    let place = Place::new();
    let recipe = recipe(&place);
    train(&place, &recipe, "100MiB", 2)
        .run()
        .fails_with(2, &["memory_budget: 104857600 bytes are too few", "give at least"]);
}
