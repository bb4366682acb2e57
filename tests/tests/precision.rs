//! bfloat16 trains as well as float32: what differs is no more than what another seed makes. A run keeps to what it was
//! begun in.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;

const VOCABULARY: usize = 500;
const STEPS: usize = 60;
/// The end of a run: its steps' mean loss is its quality.
const LAST: usize = 15;

fn recipe(place: &Place) -> PathBuf {
    let store = place.store("store", (0..120).map(|i| 6 + (i * 7) % 25), VOCABULARY);
    let config = ModelConfig { intermediate_size: 128, ..ModelConfig::of_width(64, VOCABULARY, 64) };
    let config = place.model_config("config.json", &config);
    let recipe = RecipeBuilder::new("precision", STEPS as u64);
    let recipe = recipe.fresh_model(&config, &place.path("store-tokenizer.json")).data(&store, [16, 64], 2);
    let recipe = recipe.length_groups(&[(64, 20)]).set("loss.temperature", 0.1).set("optimizer.learning_rate", 2e-3);
    place.recipe("recipe.toml", &recipe.set("checkpoint.every_steps", 0))
}

/// First loss, and the mean of the last ones.
fn train(place: &Place, recipe: &Path, precision: &str, seed: u64) -> (f64, f64) {
    let run_dir = place.path(&format!("run-{precision}-{seed}"));
    let command = Tercet::new("train").arg(recipe).set(format!("run_dir={}", run_dir.display()));
    command.set(format!("precision=\"{precision}\"")).set(format!("seed={seed}")).succeed();
    let metrics = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap();
    let losses: Vec<f64> = metrics.lines().map(loss).collect();
    (losses[0], losses[STEPS - LAST..].iter().sum::<f64>() / LAST as f64)
}

#[test]
fn bfloat16_reaches_what_float32_reaches() {
    let place = Place::new();
    let recipe = recipe(&place);
    let runs = |precision| [1, 2, 3].map(|seed| train(&place, &recipe, precision, seed));
    let (exact, rough) = (runs("fp32"), runs("bf16"));
    let mean = |runs: &[(f64, f64); 3]| runs.iter().map(|run| run.1).sum::<f64>() / 3.0;
    let ends = exact.map(|run| run.1);
    let spread = ends.iter().fold(0.0f64, |most, end| most.max((end - mean(&exact)).abs()));
    println!("fp32 {exact:?}, bf16 {rough:?}, spread {spread}");
    for (first, end) in exact.iter().chain(&rough) {
        assert!(*end < 0.7 * first, "the loss fell from {first} to {end} only");
    }
    let difference = (mean(&rough) - mean(&exact)).abs();
    assert!(difference <= spread, "bf16 ends {difference} from fp32, seeds within {spread}");
    assert_ne!(exact[0].1, rough[0].1, "nothing was rounded");
}

#[test]
fn a_run_says_what_it_computes_in_and_goes_on_in_it() {
    let place = Place::new();
    let recipe = recipe(&place);
    let run_dir = place.path("kept");
    let train = || {
        let command = Tercet::new("train").arg(&recipe).set(format!("run_dir={}", run_dir.display()));
        command.set("steps=2").set("checkpoint.every_steps=1").set("checkpoint.keep=0")
    };
    let read = |name: &str| std::fs::read_to_string(run_dir.join(name)).unwrap();
    let go_on = || {
        std::fs::remove_dir_all(run_dir.join("step-00000002")).unwrap();
        train().arg("--resume")
    };
    train().set("precision=bf16").succeed();
    let losses = read("metrics.jsonl");
    go_on().succeed();
    assert!(read("train.log").contains("the run was begun in bf16 and goes on in it"), "{}", read("train.log"));
    for file in ["recipe.toml", "step-00000002/train/recipe.toml"] {
        assert!(read(file).contains("precision = \"bf16\""), "{}", read(file));
    }
    let loss = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].clone();
    let loss = |metrics: &str| metrics.lines().map(loss).collect::<Vec<_>>();
    assert_eq!(loss(&read("metrics.jsonl")), loss(&losses));
    go_on().set("precision=fp32").run().fails_with(2, &["was written by another recipe (precision)"]);
    // A CPU decides for fp32, and an older run, whose recipe says so, goes on with one that leaves it open.
    std::fs::remove_dir_all(&run_dir).unwrap();
    train().succeed();
    assert!(read("train.log").contains("the encoder computes in fp32"), "{}", read("train.log"));
    assert!(read("recipe.toml").contains("precision = \"fp32\""), "{}", read("recipe.toml"));
    go_on().succeed();
    assert!(!read("train.log").contains("was begun in"), "{}", read("train.log"));
}
