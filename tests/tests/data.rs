//! The data of a run: it may change at a step and not before, and every rank must have the same.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::place::{Place, topic_rows};
use tercet_tests::program::{Tercet, program};

const VOCABULARY: usize = 100;

/// A store of the data sets `rows` and, if told to, `more`.
fn store(place: &Place, name: &str, with_more: bool) -> PathBuf {
    let tokenizer = place.word_tokenizer("model/tokenizer.json", VOCABULARY);
    let jsonl = |rows: Vec<Value>| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let rows = place.write("rows.jsonl", &jsonl(topic_rows((0..40).map(|i| 4 + i % 11), VOCABULARY)));
    let more = place.write("more.jsonl", &jsonl(topic_rows((0..24).map(|i| 5 + i % 7), VOCABULARY)));
    let out = place.path(name);
    let mut prepare = Tercet::new("prepare").arg("--tokenizer").arg(&tokenizer).arg("--out").arg(&out);
    // First, so that the data set that was there before is now another one in the list.
    if with_more {
        prepare = prepare.arg(format!("more={}", more.display()));
    }
    prepare.arg(format!("rows={}", rows.display())).succeed();
    out
}

/// A recipe of 8 steps over the store at `data_store`.
fn recipe(place: &Place, name: &str, data_store: &Path, data: &str) -> PathBuf {
    let tiny = ModelConfig::tiny(VOCABULARY, 64);
    let config = ModelConfig { num_layers: 1, intermediate_size: 32, initializer_range: 0.1, ..tiny };
    let config = place.model_config("model/config.json", &config);
    let recipe = RecipeBuilder::new("data", 8).set("run_dir", place.path("run")).set("model.config", config);
    let recipe = recipe.set("checkpoint.every_steps", 4).set("checkpoint.keep", 0).set("data.store", data_store);
    let recipe = recipe.set("data.group_size", 2).length_groups(&[(64, 8)]);
    place.write(name, &format!("{recipe}{data}"))
}

fn train(recipe: &Path) -> Tercet {
    Tercet::new("train").arg(recipe).ranks(2)
}

/// The data set and the loss of each step.
fn steps(run: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(step).map(|s| (s["dataset"].as_str().unwrap().to_owned(), s["loss"].clone())).collect()
}

#[test]
fn a_data_set_joins_at_a_step_and_what_was_before_stays() {
    let place = Place::new();
    let first = recipe(&place, "first.toml", &store(&place, "one", false), "");
    train(&first).succeed();
    let before = steps(&place.path("run"));
    fs::remove_dir_all(place.path("run/step-00000008")).unwrap();

    let both = store(&place, "both", true);
    let joins = |from_step: u64| {
        format!(
            "data.sets = [{{ name = \"more\", weight = 0 }}]\n\
             data.changes = [{{ from_step = {from_step}, weights = {{ more = 9.0 }} }}]\n"
        )
    };
    let unsaid = recipe(&place, "unsaid.toml", &both, "");
    let early = recipe(&place, "early.toml", &both, &joins(3));
    for recipe in [&unsaid, &early] {
        let ended = train(recipe).arg("--resume").run();
        ended.fails_with(2, &["step-00000004", "its 4 steps were not taken from these rows", "at or after step 4"]);
    }

    let joined = recipe(&place, "joined.toml", &both, &joins(4));
    train(&joined).arg("--resume").succeed();
    let after = steps(&place.path("run"));
    assert_eq!((after.len(), &after[..4]), (8, &before[..4]));
    assert!(after[4..].iter().any(|(dataset, _)| dataset == "more"), "{after:?}");
}

#[test]
fn ranks_with_different_stores_do_not_begin() {
    let place = Place::new();
    let recipe = recipe(&place, "recipe.toml", Path::new("store"), "");
    for (folder, with_more) in [("a", false), ("b", true)] {
        fs::create_dir(place.path(folder)).unwrap();
        store(&place, &format!("{folder}/store"), with_more);
    }
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--allow-run-as-root", "--oversubscribe"]);
    for (i, folder) in ["a", "b"].into_iter().enumerate() {
        mpirun.args(if i > 0 { &[":"][..] } else { &[] }).args(["-n", "1", "-wdir"]).arg(place.path(folder));
        mpirun.arg(program("tercet-worker")).arg("train").arg(&recipe);
    }
    let ended = Tercet::through(mpirun, 2).run();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr());
    assert!(ended.stderr().contains("rank 1: the token store is "), "{}", ended.stderr());
    assert!(!place.path("run/metrics.jsonl").exists());
}
