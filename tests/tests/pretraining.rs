//! Pre-training through the command line: the published numbers, the same on any number of ranks; a killed run that
//! resumes to the same bits; and what it leaves for the stages after it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::Value;
use tercet_tests::compare::{number, same_gradients};
use tercet_tests::hold::Hold;
use tercet_tests::place::{golden, recipe};
use tercet_tests::program::{Tercet, send};
use tercet_tests::scene::metrics;
use tercet_tests::tensors::{self, Tensors};
use tercet_tests::text_scene::{TextScene, VOCABULARY};

/// Folder, and what differs from tests/recipes/golden-mae.toml.
const CASES: [(&str, &[&str]); 6] = [
    ("nano_xlmr_mae/basic", &[]),
    ("nano_bert_mae/basic", &[]),
    ("nano_xlmr_mae/cls_hidden", &[]),
    ("nano_xlmr_mae/positions_query", &["pretrain.decoder_query=positions"]),
    ("nano_xlmr_mae/mlm_only", &["loss.preset=mlm"]),
    ("nano_xlmr_mae/short", &["sub_batch_tokens=8"]),
];

fn step(folder: &str, settings: &[&str], ranks: usize) -> Value {
    let model = golden(folder.split('/').next().unwrap()).join("hf");
    let command =
        Tercet::new("step").arg(recipe("golden-mae.toml")).arg("--json").ranks(ranks).arg("--model").arg(model);
    let command = command.arg("--tokens").arg(golden(folder).join("tensors.safetensors"));
    let output = settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
    serde_json::from_str(&output).unwrap()
}

/// Equal up to `tolerance` of the larger of 1 and what is expected.
fn close(what: &str, found: &Value, expected: &Value, tolerance: f64) {
    let (found, expected) = (number(found), number(expected));
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{what}: {found} for {expected}");
}

#[test]
fn published_losses_and_gradients_on_any_ranks() {
    for (folder, settings) in CASES {
        let reference: Value =
            serde_json::from_str(&fs::read_to_string(golden(folder).join("ref.json")).unwrap()).unwrap();
        for ranks in 1..=3 {
            let found = step(folder, settings, ranks);
            assert_eq!((&found["counts"], &found["world_size"]), (&reference["counts"], &ranks.into()), "{folder}");
            for key in ["loss", "total_grad_norm"] {
                close(&format!("{folder} on {ranks}: {key}"), &found[key], &reference[key], 1e-9);
            }
            for key in ["terms", "param_grad_norm"] {
                for (name, value) in found[key].as_object().unwrap() {
                    close(&format!("{folder} on {ranks}: {name}"), value, &reference[key][name], 1e-9);
                }
            }
            let expected = reference["param_grad_norm"].as_object().unwrap();
            assert!(expected.keys().all(|name| found["param_grad_norm"].get(name).is_some()), "{folder}");
        }
    }
}

/// After one update with beta1 = 0 the optimizer's running mean of gradients is the gradient.
#[test]
fn masks_losses_and_gradients_are_the_same_on_any_ranks() {
    let scene = TextScene::new();
    for preset in ["retromae", "mlm"] {
        let recipe = scene.recipe(1).set("precision", "fp64");
        let recipe = recipe.set("optimizer.beta1", 0.0).set("optimizer.max_grad_norm", 0.0);
        let run = |ranks: usize, settings: &[&str]| -> (Value, Tensors) {
            let name = format!("{preset}-{ranks}-{}", settings.len());
            let command = scene.train(&recipe, &name, ranks).set(format!("loss.preset={preset}"));
            settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
            let state = tensors::read(&scene.checkpoint(&name, 1).join("train/optimizer.safetensors"));
            let means =
                state.into_iter().filter_map(|(name, mean)| Some((name.strip_prefix("mean.")?.to_owned(), mean)));
            (metrics(&scene.place.path(&name)).remove(0), means.collect())
        };
        let (expected, gradient) = run(1, &[]);
        for (ranks, settings) in [
            (1, &["sub_batch_texts=1"][..]),
            (2, &["sub_batch_tokens=32"]),
            (4, &[]),
            (4, &["optimizer.shard_state=true"]),
        ] {
            let what = format!("{preset} on {ranks} ranks, {settings:?}");
            let (found, found_gradient) = run(ranks, settings);
            for key in ["loss", "grad_norm"] {
                close(&what, &found[key], &expected[key], 1e-10);
            }
            for (key, names) in [("terms", 1e-10), ("accuracies", 1e-12)] {
                let sides = expected[key].as_object().unwrap();
                assert_eq!(sides.len(), if preset == "mlm" { 1 } else { 2 });
                sides.iter().for_each(|(side, value)| close(&what, &found[key][side], value, names));
            }
            same_gradients(&what, &found_gradient, &gradient, 1e-10);
        }
    }
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let scene = TextScene::new();
    let (steps, every) = (12, 4);
    let recipe = scene.recipe(steps).set("model.dropout", 0.1).set("checkpoint.every_steps", every);
    scene.train(&recipe, "whole", 2).succeed();
    let hold = Hold::after(every + 1, &scene.place.path(""), "go");
    let mut run = hold.on(scene.train(&recipe, "killed", 2)).set("restart.limit=0").start();
    hold.wait(&mut run, 2);
    let first = scene.checkpoint("killed", every);
    run.wait_until("checkpoint", |_| first.exists());
    run.wait_for_ranks(2).into_iter().for_each(|rank| send(rank, libc::SIGKILL));
    run.wait().fails_with(3, &["signal 9"]);
    scene.train(&recipe, "killed", 2).arg("--resume").succeed();
    for file in ["model.safetensors", "mlm_head.safetensors", "decoder.safetensors"] {
        let read = |run: &str| fs::read(scene.checkpoint(run, steps).join("model").join(file)).unwrap();
        assert!(read("killed") == read("whole"), "{file} differs from the uninterrupted run's");
    }
    let timeless = |run: &str| -> Vec<Value> {
        let lines = metrics(&scene.place.path(run));
        lines
            .iter()
            .map(|line| [&line["loss"], &line["accuracies"], &line["decoder_gap"]].into_iter().cloned().collect())
            .collect()
    };
    assert_eq!(timeless("killed"), timeless("whole"));
    let gaps: Vec<bool> = metrics(&scene.place.path("whole")).iter().map(|line| line["decoder_gap"].is_f64()).collect();
    assert_eq!(gaps, (1..=steps).map(|step| step % 3 == 0).collect::<Vec<_>>());
}

/// The model is what later stages start from; its head and decoder are what pre-training goes on from.
#[test]
fn later_stages_and_further_pre_training_start_from_what_is_saved() {
    let scene = TextScene::new();
    scene.train(&scene.recipe(2), "first", 1).succeed();
    let model = scene.checkpoint("first", 2).join("model");
    let names = |file: &str| tensors::read(&model.join(file)).into_keys().collect::<Vec<_>>();
    assert!(names("model.safetensors").iter().all(|name| !name.contains("head")));
    assert_eq!(names("mlm_head.safetensors").len(), 5);
    assert!(names("decoder.safetensors").iter().all(|name| name.starts_with("c_head.")));

    // No step: what is saved is what was loaded.
    let again = scene.recipe(0).set("model.path", &model).to_string();
    let again: String =
        again.lines().filter(|line| !line.starts_with("model.config")).map(|line| format!("{line}\n")).collect();
    let recipe = scene.place.write("again.toml", &again);
    let run = scene.place.path("again");
    Tercet::new("train").arg(&recipe).ranks(1).set(format!("run_dir={}", run.display())).succeed();
    for file in ["model.safetensors", "mlm_head.safetensors", "decoder.safetensors"] {
        let read = |dir: &Path| fs::read(dir.join(file)).unwrap();
        assert!(read(&run.join("step-00000000/model")) == read(&model), "{file}");
    }

    let encode = Tercet::new("encode")
        .arg("--model")
        .arg(&model)
        .arg("--input")
        .arg(scene.place.write("in.jsonl", "{\"text\": \"w5 w6\"}\n"));
    encode.arg("--out").arg(scene.place.path("out.jsonl")).ranks(1).succeed();
}

/// A step at next to no rate leaves the bias as it began: the logarithm of each word's share, every word once more.
#[test]
fn a_fresh_head_expects_words_as_often_as_they_occur() {
    let scene = TextScene::of(["w4 w5 w5 w6", "w6 w5", "w7"].map(str::to_owned).into_iter().cycle().take(12));
    let recipe = scene.recipe(1).set("optimizer.learning_rate", 1e-9);
    scene.train(&recipe, "run", 1).succeed();
    let head = tensors::read(&scene.checkpoint("run", 1).join("model/mlm_head.safetensors"));
    let bias = &head["lm_head.bias"];
    assert_eq!(bias.len(), VOCABULARY);
    let total = 4.0 * 7.0 + VOCABULARY as f64;
    let mut counts: Vec<f64> = bias.iter().map(|share| share.exp() * total - 1.0).collect();
    counts.sort_by(f64::total_cmp);
    let expected = std::iter::repeat_n(0.0, VOCABULARY - 4).chain([4.0, 4.0, 8.0, 12.0]);
    assert!(counts.iter().zip(expected).all(|(found, count)| (found - count).abs() < 1e-4), "{counts:?}");
}

#[test]
fn what_cannot_be_pre_trained_is_refused_in_words() {
    let scene = TextScene::new();
    for (settings, words) in [
        (&["pretrain.encoder_mask=0"][..], "pretrain.encoder_mask: is 0"),
        (&["pretrain.decoder_mask=1.0"], "pretrain.decoder_mask: is 1"),
        (&["loss.head_weights=[1,1,1]"], "has no meaning in pre-training"),
    ] {
        let command = scene.train(&scene.recipe(1), "refused", 1);
        settings.iter().fold(command, |command, setting| command.set(setting)).run().fails_with(2, &[words]);
    }
    let plain = scene.place.word_tokenizer("plain.json", VOCABULARY);
    let store = scene.place.text_store("plain-store", &plain, (0..48).map(|i| format!("w{}", 5 + i)));
    let command = scene.train(&scene.recipe(1), "refused", 1).set(format!("model.tokenizer={}", plain.display()));
    command.set(format!("data.store={}", store.display())).run().fails_with(2, &["has no mask token"]);
}
