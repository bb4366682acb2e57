//! The optimizer's state sharded over ranks: the same run to the bit, whose checkpoints anyone can load.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::compare::{close, number};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;

pub const STEPS: u64 = 4;

/// Over MPI, on the CPU: no more arguments and no variables.
const PLAIN: Way = Way { more: &[], variables: &[] };

/// How a run is started.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub more: &'a [&'a str],
    pub variables: &'a [(&'static str, String)],
}

/// A recipe whose gradients are clipped, and a model of more than one bucket of 25 MiB, whose parts are uneven on 3
/// ranks.
pub fn recipe(place: &Place) -> PathBuf {
    let store = place.store("rows", (0..40).map(|i| 4 + (i * 7) % 30), 100);
    let tokenizer = place.word_tokenizer("model/tokenizer.json", 100);
    let tiny = ModelConfig::tiny(220_001, 64);
    let shape = ModelConfig { hidden_size: 32, num_layers: 1, intermediate_size: 64, initializer_range: 0.1, ..tiny };
    let config = place.model_config("model/config.json", &shape);
    let recipe = RecipeBuilder::new("sharded", STEPS).fresh_model(&config, &tokenizer).data(&store, [16, 64], 2);
    let recipe = recipe.length_groups(&[(64, 12)]).set("sub_batch_tokens", 256).set("optimizer.learning_rate", 1e-3);
    let recipe = recipe.set("optimizer.max_grad_norm", 0.01).set("checkpoint.every_steps", 2).set("checkpoint.keep", 0);
    place.recipe("recipe.toml", &recipe)
}

/// One run, or its continuation, and what it recorded.
pub fn train(place: &Place, run: &str, ranks: usize, sharded: bool, way: Way) -> Vec<Value> {
    let run_dir = place.path(run);
    let command = Tercet::new("train").arg(place.path("recipe.toml")).ranks(ranks);
    let command = command.set(format!("run_dir={}", run_dir.display())).set(format!("optimizer.shard_state={sharded}"));
    let command = way.variables.iter().fold(command, |command, (name, value)| command.env(name, value));
    way.more.iter().fold(command, |command, arg| command.arg(arg)).succeed();
    let metrics = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn assert_same_state(place: &Place, found: &str, expected: &str) {
    for file in ["model/model.safetensors", "model/colbert_linear.pt", "train/optimizer.safetensors"] {
        let [found, expected] =
            [found, expected].map(|run| fs::read(place.path(run).join(format!("step-{STEPS:08}")).join(file)).unwrap());
        assert!(found == expected, "{file} differs");
    }
}

#[test]
fn a_sharded_run_is_the_whole_one_to_the_bit_on_any_ranks() {
    let place = Place::new();
    recipe(&place);
    for ranks in 1..=4 {
        let [whole, sharded] = ["whole", "sharded"].map(|name| format!("{name}-{ranks}"));
        let expected = train(&place, &whole, ranks, false, PLAIN);
        let found = train(&place, &sharded, ranks, true, PLAIN);
        assert_same_state(&place, &sharded, &whole);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(number(&expected["grad_norm"]) > 0.01, "nothing is clipped");
            for key in ["loss", "grad_norm", "all_reduce_bytes"] {
                assert_eq!(found[key], expected[key], "{key}");
            }
        }
    }
}

/// From its middle, a sharded run goes on sharded or whole to the same bits, and on other ranks to the same figures.
#[test]
fn a_sharded_runs_checkpoint_is_anyones() {
    let place = Place::new();
    recipe(&place);
    let expected = train(&place, "whole", 3, true, PLAIN);
    for (ranks, sharded) in [(3, true), (3, false), (2, true), (1, false)] {
        let name = format!("resumed-{ranks}-{sharded}");
        fs::remove_dir_all(place.copy(&place.path("whole"), &name).join(format!("step-{STEPS:08}"))).unwrap();
        let found = train(&place, &name, ranks, sharded, Way { more: &["--resume"], ..PLAIN });
        assert_eq!(found.len() as u64, STEPS);
        if ranks == 3 {
            assert_same_state(&place, &name, "whole");
        }
        for (found, expected) in found.iter().zip(&expected) {
            close(&name, number(&found["loss"]), number(&expected["loss"]), 1e-4);
        }
    }
}
