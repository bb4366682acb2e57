//! bfloat16 trains as well as float32: what differs is no more than what another seed makes.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;

const VOCABULARY: usize = 500;
const STEPS: usize = 60;
/// The end of a run: its steps' mean loss is its quality.
const LAST: usize = 15;

fn recipe(place: &Place) -> PathBuf {
    place.store("store", (0..120).map(|i| 6 + (i * 7) % 25), VOCABULARY);
    let config = json!({
        "model_type": "xlm-roberta", "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 66, "type_vocab_size": 1,
        "pad_token_id": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
    });
    place.write("config.json", &config.to_string());
    let path = |name: &str| place.path(name).display().to_string();
    let text = format!(
        "name = \"precision\"\nsteps = {STEPS}\n[model]\nconfig = \"{}\"\ntokenizer = \"{}\"\ndropout = 0.0\n[data]\n\
         store = \"{}\"\nquery_max_len = 16\npassage_max_len = 64\ngroup_size = 2\n\
         length_groups = [{{ max_len = 64, global_batch = 20 }}]\n[loss]\ntemperature = 0.1\n\
         [optimizer]\nlearning_rate = 2e-3\n[checkpoint]\nevery_steps = 0\n",
        path("config.json"),
        path("store-tokenizer.json"),
        path("store"),
    );
    place.write("recipe.toml", &text)
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
