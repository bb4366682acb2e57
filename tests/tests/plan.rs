//! `tercet plan` against the run that it describes: what it says of every step is what training then records.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;

const VOCABULARY: usize = 500;
const UP_TO: [u64; 2] = [24, 64];

/// What is trained with, as overrides.
const OBJECTIVES: [&[&str]; 3] = [
    &["loss.preset=unified", "data.group_size=3"],
    &["loss.preset=dense", "data.two_way=true", "loss.mask_false_negatives=false"],
    &["loss.preset=paper-v1", "data.two_way=true", "data.group_size=2"],
];

/// A store of 60 rows of many lengths, a model and a recipe of 12 steps.
fn recipe(place: &Place, config: Value) -> PathBuf {
    place.store("store", (0..60).map(|i| 2 + (i * 7) % 55), VOCABULARY);
    place.write("config.json", &config.to_string());
    let path = |name: &str| place.path(name).display().to_string();
    let text = format!(
        "name = \"planned\"\nsteps = 12\nsub_batch_tokens = 96\nkept_graph_tokens = 200\n[model]\nconfig = \"{}\"\n\
         tokenizer = \"{}\"\n[data]\nstore = \"{}\"\nquery_max_len = 16\npassage_max_len = 64\ngroup_size = 1\n\
         length_groups = [{{ max_len = {}, global_batch = 6 }}, {{ max_len = {}, global_batch = 6 }}]\n",
        path("config.json"),
        path("store-tokenizer.json"),
        path("store"),
        UP_TO[0],
        UP_TO[1],
    );
    place.write("recipe.toml", &text)
}

fn config(hidden: usize, layers: usize, positions: usize) -> Value {
    json!({
        "model_type": "xlm-roberta", "vocab_size": VOCABULARY, "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 4, "intermediate_size": 4 * hidden, "max_position_embeddings": positions,
        "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    })
}

fn plan(recipe: &Path, settings: &[&str], ranks: usize) -> Value {
    let command = Tercet::new("plan").arg(recipe).arg("--device").arg("cpu").arg("--json").arg("-");
    let command = command.arg("--world").arg(ranks.to_string());
    let output = settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
    serde_json::from_str(&output).unwrap()
}

/// The lines of metrics.jsonl.
fn train(place: &Place, recipe: &Path, settings: &[&str], ranks: usize, name: &str) -> Vec<Value> {
    let run_dir = place.path(name);
    let command = Tercet::new("train").arg(recipe).ranks(ranks).set(format!("run_dir={}", run_dir.display()));
    settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
    let metrics = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_steps_tokens_padding_balance_and_bytes_are_as_planned() {
    let place = Place::new();
    let recipe = recipe(&place, config(16, 2, 66));
    for (i, settings) in OBJECTIVES.into_iter().enumerate() {
        for ranks in [1, 2, 3] {
            let plan = plan(&recipe, settings, ranks);
            let metrics = train(&place, &recipe, settings, ranks, &format!("run-{i}-{ranks}"));
            same_steps(&plan, &metrics, &format!("{settings:?}, {ranks} ranks"));
        }
    }
}

fn same_steps(plan: &Value, metrics: &[Value], what: &str) {
    let cells = plan["cells"].as_array().unwrap();
    let mut batches: HashMap<usize, u64> = HashMap::new();
    for recorded in metrics {
        let up_to = UP_TO[recorded["length_group"].as_u64().unwrap() as usize];
        let cell = cells.iter().position(|cell| cell["up_to_tokens"] == up_to).unwrap();
        let nth = batches.entry(cell).or_default();
        let dealt = plan["dealt_batches"].as_array().unwrap();
        let planned = dealt.iter().find(|batch| batch["cell"] == cell && batch["nth"] == *nth);
        let planned = planned.unwrap_or_else(|| panic!("{what}: batch {nth} of cell {cell} was not dealt"));
        *nth += 1;
        for (key, planned) in [
            ("tokens", &planned["tokens"]),
            ("padding_share", &planned["padding_share"]),
            ("imbalance", &planned["imbalance"]),
            ("all_reduce_bytes", &planned["traffic"]["all_reduce_bytes"]),
            ("ring_bytes", &planned["traffic"]["ring_bytes"]),
            ("gather_bytes", &planned["traffic"]["gather_bytes"]),
        ] {
            let (planned, found) = (planned.as_f64().unwrap(), recorded[key].as_f64().unwrap());
            // Bytes are recorded as whole numbers of a mean over ranks.
            let same =
                if key.ends_with("bytes") { (planned - found).abs() <= 0.5 } else { (planned - found).abs() < 1e-9 };
            assert!(same, "{what}, step {}: {key}: planned {planned}, found {found}", recorded["step"]);
        }
    }
    for (cell, planned) in cells.iter().enumerate() {
        assert_eq!(planned["steps"], batches.get(&cell).copied().unwrap_or_default(), "{what}: steps of cell {cell}");
    }
}

/// The figures of docs/measured/now.md come from larger models; this holds the estimate to what it is for.
#[test]
fn peak_memory_is_about_as_planned() {
    let place = Place::new();
    let recipe = recipe(&place, config(256, 4, 66));
    for (name, settings) in [
        ("recomputed", ["sub_batch_tokens=4000", "kept_graph_tokens=0", "data.group_size=3", "steps=3"]),
        ("kept", ["sub_batch_tokens=4000", "kept_graph_tokens=100000", "data.group_size=3", "steps=3"]),
    ] {
        let planned = plan(&recipe, &settings, 1)["memory"]["total_bytes"].as_f64().unwrap();
        let metrics = train(&place, &recipe, &settings, 1, name);
        let found = metrics.last().unwrap()["peak_rss_bytes"].as_f64().unwrap();
        let ratio = planned / found;
        assert!((0.7..1.4).contains(&ratio), "{name}: planned {planned:e}, found {found:e}");
    }
}

#[test]
fn rates_can_be_measured() {
    let place = Place::new();
    let recipe = recipe(&place, config(16, 2, 66));
    let command = Tercet::new("plan").arg(&recipe).arg("--world").arg("2").arg("--measure").arg("--json").arg("-");
    let plan: Value = serde_json::from_str(&command.succeed()).unwrap();
    for rate in ["flops_per_sec", "peak_flops_per_sec", "all_reduce_bytes_per_sec", "ring_bytes_per_sec", "update_secs"]
    {
        assert!(plan["rates"][rate].as_f64().is_some_and(|rate| rate > 0.0), "{rate}: {}", plan["rates"]);
    }
    assert!(plan["totals"]["time"]["secs"].as_f64().is_some_and(|secs| secs > 0.0));
}
