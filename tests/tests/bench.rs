//! `tercet bench`: the phases are the whole step, the share is one, and what cannot be trained cannot be timed.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_fixtures::RecipeBuilder;
use tercet_tests::place::{Place, golden};
use tercet_tests::program::Tercet;
use tercet_tests::text_scene::TextScene;

/// What may pass between the two readings of a clock, in the step where it is the least: what else the machine does can
/// come between them, though not always.
pub const BETWEEN_CLOCKS_SECS: f64 = 0.05;

/// The golden model over 32 rows, 10 steps of 8.
fn recipe(place: &Place) -> PathBuf {
    let store = place.store("store", (0..32).map(|i| 2 + (i * 5) % 28), 64);
    let recipe = RecipeBuilder::new("timed", 10).set("sub_batch_tokens", 96).set("kept_graph_tokens", 0);
    let recipe = recipe.set("model.path", golden("nano_xlmr/hf")).data(&store, [16, 32], 3);
    place.recipe("recipe.toml", &recipe.length_groups(&[(32, 8)]))
}

fn bench(recipe: &Path, ranks: usize) -> Tercet {
    Tercet::new("bench").arg(recipe).ranks(ranks)
}

#[test]
fn the_phases_sum_to_the_step_and_the_share_is_one() {
    let place = Place::new();
    let recipe = recipe(&place);
    for ranks in [1, 2] {
        let report: Value = serde_json::from_str(&bench(&recipe, ranks).arg("--json").succeed()).unwrap();
        assert_eq!(report["world_size"], ranks);
        let steps = report["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 5);
        assert!(steps.contains(&report["median"]));
        let mut between = f64::INFINITY;
        for step in steps {
            let number = |key: &str| step[key].as_f64().unwrap();
            let phases = step["phase_secs"].as_object().unwrap();
            let sum: f64 = phases.values().map(|secs| secs.as_f64().unwrap()).sum();
            between = between.min((sum - number("step_secs")).abs());
            for phase in ["forward", "recompute", "backward", "heads", "scoring", "loss", "optimizer"] {
                assert!(phases[phase].as_f64().unwrap() > 0.0, "{phase} in {step}");
            }
            assert!(0.0 < number("peak_share") && number("peak_share") < 1.0, "{step}");
        }
        assert!(between < BETWEEN_CLOCKS_SECS, "{steps:?}");
    }
    let table = bench(&recipe, 1).arg("--steps").arg("2").succeed();
    for words in ["timed: 2 steps timed on 1 rank of", "recompute", "sum", "share of that peak"] {
        assert!(table.contains(words), "{words}:\n{table}");
    }
}

/// The words that are predicted are those that the plan counts by the texts' lengths.
#[test]
fn pre_training_does_the_operations_that_are_planned() {
    let scene = TextScene::new();
    let recipe = scene.place.recipe("recipe.toml", &scene.recipe(10));
    for (preset, max_masked) in [("retromae", 0), ("retromae", 3), ("mlm", 0)] {
        let batch = "data.length_groups=[{ max_len = 64, global_batch = 8 }]".to_owned();
        let settings = [format!("loss.preset={preset}"), format!("pretrain.max_masked={max_masked}"), batch];
        let set = |command: Tercet| settings.iter().fold(command, |command, setting| command.set(setting));
        let plan = Tercet::new("plan").arg(&recipe).arg("--world").arg("1").arg("--device").arg("cpu").arg("--json");
        let plan: Value = serde_json::from_str(&set(plan.arg("-")).succeed()).unwrap();
        let report: Value = serde_json::from_str(&set(bench(&recipe, 1)).arg("--json").succeed()).unwrap();
        // The first step is not timed.
        for (step, nth) in report["steps"].as_array().unwrap().iter().zip(1u64..) {
            let planned = plan["dealt_batches"].as_array().unwrap().iter().find(|batch| batch["nth"] == nth).unwrap();
            let number = |value: &Value| value.as_f64().unwrap();
            let expected = number(&planned["flops"]["forward"]) + number(&planned["flops"]["backward"]);
            let found = number(&step["model_flops"]);
            assert!((found - expected).abs() < 1e-9 * expected, "{settings:?}, {nth}: {found}, planned {expected}");
            let decoder = number(&step["phase_secs"]["decoder"]);
            assert_eq!(decoder > 0.0, preset == "retromae", "{step}");
        }
    }
    let table = bench(&recipe, 2).arg("--steps").arg("2").succeed();
    assert!(table.lines().any(|line| line.trim_start().starts_with("decoder")), "{table}");
}

#[test]
fn the_threads_asked_for_are_used() {
    let place = Place::new();
    let recipe = recipe(&place);
    let program = tercet_tests::program::program("tercet");
    let mut command = std::process::Command::new(program);
    command.arg("bench").arg(&recipe).args(["--json", "--steps", "1"]).env("OMP_NUM_THREADS", "3");
    let report: Value = serde_json::from_str(&Tercet::through(command, 1).succeed()).unwrap();
    assert_eq!(report["threads"], 3);
}

#[test]
fn what_cannot_be_trained_cannot_be_timed() {
    let place = Place::new();
    let recipe = recipe(&place);
    bench(&recipe, 1).set("data.store=").run().fails_with(2, &["data.store is empty", "tercet prepare"]);
    bench(&recipe, 1).set("loss.temperature=0").run().fails_with(2, &["loss.temperature: is 0"]);
    bench(&recipe, 1).set("model.path=/nowhere").run().fails_with(2, &["/nowhere/config.json"]);
    bench(&recipe, 1).arg("--from").arg("9").run().fails_with(2, &["10 steps leave none", "lower --from"]);
    let other = place.word_tokenizer("other.json", 60);
    for ranks in [1, 2] {
        let longer = "data.length_groups=[{max_len=60,global_batch=8}]";
        let run = bench(&recipe, ranks).set("data.passage_max_len=60").set(longer).run();
        run.fails_with(2, &["longer than the model's limit of 32"]);
        let run = bench(&recipe, ranks).set(format!("model.tokenizer={}", other.display())).run();
        run.fails_with(2, &["token ids of another tokenizer"]);
    }
    bench(&recipe, 9).run().fails_with(2, &["9 ranks"]);
}
