//! A run that was stopped and resumed is the run that was not stopped; with other ranks, it has the same batches.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_tests::compare::{close, number};
use tercet_tests::place::{Place, copy_folder};
use tercet_tests::program::{Tercet, send};

/// Where a run begins: a store of two length groups, a small fresh model with dropout, a recipe of `steps` steps.
struct Scene {
    place: Place,
    recipe: PathBuf,
}

impl Scene {
    fn new(steps: u64, checkpoint_every: u64) -> Self {
        let place = Place::new();
        let store = place.store("rows", (0..40).map(|i| if i % 3 == 0 { 30 + i % 17 } else { 4 + i % 11 }), 100);
        let tokenizer = place.word_tokenizer("model/tokenizer.json", 100);
        let config = json!({
            "model_type": "xlm-roberta", "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 66, "type_vocab_size": 1,
            "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
            "initializer_range": 0.1, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        });
        let config = place.write("model/config.json", &config.to_string());
        let text = format!(
            r#"
            name = "resume"
            steps = {steps}
            sub_batch_tokens = 256
            [model]
            config = "{}"
            tokenizer = "{}"
            [data]
            store = "{}"
            query_max_len = 16
            passage_max_len = 64
            group_size = 2
            length_groups = [{{ max_len = 20, global_batch = 8 }}, {{ max_len = 64, global_batch = 4 }}]
            shuffle_ratio = 0.5
            [loss]
            distill_start_step = 3
            [optimizer]
            learning_rate = 1e-3
            [checkpoint]
            every_steps = {checkpoint_every}
            keep = 0
            "#,
            config.display(),
            tokenizer.display(),
            store.display()
        );
        let recipe = place.write("recipe.toml", &text);
        Self { place, recipe }
    }

    fn train(&self, run: &str, ranks: usize) -> Tercet {
        let run_dir = self.place.path(run);
        Tercet::new("train").arg(&self.recipe).ranks(ranks).set(format!("run_dir={}", run_dir.display()))
    }

    fn checkpoint(&self, run: &str, step: u64) -> PathBuf {
        self.place.path(run).join(format!("step-{step:08}"))
    }

    /// A copy of a run as it was right after its checkpoint of `step`, all later ones gone.
    fn copy_until(&self, run: &str, step: u64, name: &str) -> PathBuf {
        let copy = self.place.copy(&self.place.path(run), name);
        for entry in fs::read_dir(&copy).unwrap().flatten() {
            let of = entry.file_name().to_str().and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok());
            if of.is_some_and(|of| of > step) {
                fs::remove_dir_all(entry.path()).unwrap();
            }
        }
        copy
    }
}

/// The lines of metrics.jsonl.
fn metrics(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What of a step does not depend on how fast the machine was.
fn timeless(step: &Value) -> Vec<Value> {
    let keys = ["step", "epoch", "dataset", "length_group", "tokens", "loss", "terms", "learning_rate", "grad_norm"];
    keys.iter().map(|key| step[key].clone()).collect()
}

/// Weights, heads, optimizer state and position, byte for byte; and the history of every step.
fn assert_same_run(scene: &Scene, found: &str, expected: &str, steps: u64) {
    for file in [
        "model/model.safetensors",
        "model/colbert_linear.pt",
        "model/sparse_linear.pt",
        "train/optimizer.safetensors",
        "train/state.json",
    ] {
        let read = |run: &str| fs::read(scene.checkpoint(run, steps).join(file)).unwrap();
        // The state has the recipe's hash, which covers the run folder.
        let read = |run: &str| if file.ends_with("json") { without_hash(&read(run)) } else { read(run) };
        assert!(read(found) == read(expected), "{found}: {file} differs from the uninterrupted run's");
    }
    let [found, expected] = [found, expected].map(|run| metrics(&scene.place.path(run)));
    assert_eq!(expected.len() as u64, steps);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(timeless(found), timeless(expected));
    }
}

fn without_hash(state: &[u8]) -> Vec<u8> {
    let mut state: Value = serde_json::from_slice(state).unwrap();
    assert!(state.as_object_mut().unwrap().remove("recipe_hash").is_some());
    state.to_string().into_bytes()
}

/// Killed with SIGKILL, the launcher's child first, after a checkpoint and before the end.
#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let (steps, every) = (60, 15);
    let scene = Scene::new(steps, every);
    for ranks in [1, 2] {
        let (whole, killed) = (format!("whole-{ranks}"), format!("killed-{ranks}"));
        scene.train(&whole, ranks).succeed();

        let mut run = scene.train(&killed, ranks).start();
        let first = scene.checkpoint(&killed, every);
        run.wait_until("checkpoint", |_| first.exists());
        let victim = if ranks == 1 { "tercet-worker" } else { "mpirun" };
        send(run.wait_for_processes(victim, 1)[0], libc::SIGKILL);
        run.wait().fails_with(3, &["signal 9"]);
        assert!(!scene.checkpoint(&killed, steps).exists(), "the run was over before it could be killed");

        scene.train(&killed, ranks).arg("--resume").succeed();
        assert_same_run(&scene, &killed, &whole, steps);
    }
}

/// Beginning anew would cut the run's history off and write over what may still be saved.
#[test]
fn a_run_without_any_good_checkpoint_is_refused() {
    let scene = Scene::new(6, 2);
    scene.train("whole", 1).succeed();
    scene.copy_until("whole", 2, "damaged");
    flip_a_byte(&scene.checkpoint("damaged", 2));
    let ended = scene.train("damaged", 1).arg("--resume").run();
    ended.fails_with(4, &["no checkpoint of", "can be used", "its checksum differs"]);
}

/// Every file of a checkpoint is checked before it is used: what is torn is refused by name, the one before is taken.
#[test]
fn a_torn_checkpoint_is_refused_and_the_one_before_is_used() {
    let scene = Scene::new(6, 2);
    scene.train("whole", 1).succeed();
    type Damage = fn(&Path);
    let damages: [(&str, Damage, &str); 4] = [
        ("truncated", truncate, "model/model.safetensors: has "),
        ("altered", flip_a_byte, "train/optimizer.safetensors: its checksum differs"),
        ("unfinished", |path| fs::remove_file(path.join("manifest.json")).unwrap(), "manifest.json: "),
        ("emptied", |path| fs::remove_dir_all(path.join("train")).unwrap(), "train/optimizer.safetensors: "),
    ];
    for (name, damage, reason) in damages {
        scene.copy_until("whole", 4, name);
        let torn = scene.checkpoint(name, 4);
        damage(&torn);
        scene.train(name, 1).arg("--resume").succeed();

        let log = fs::read_to_string(scene.place.path(name).join("train.log")).unwrap();
        let refused = format!("{}: {reason}", torn.display());
        assert!(log.contains(&refused) && log.contains("trying the one before"), "{name}: {log}");
        assert!(log.contains("steps 3 to 6"), "{name}: resumed from step 2: {log}");
        // The refused checkpoint has been written again.
        assert_same_run(&scene, name, "whole", 6);
    }
}

fn truncate(checkpoint: &Path) {
    let file = fs::OpenOptions::new().write(true).open(checkpoint.join("model/model.safetensors")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
}

fn flip_a_byte(checkpoint: &Path) {
    let path = checkpoint.join("train/optimizer.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
}

/// Another world size goes on with the same global batches. Dropout is off: its masks depend on which rank has a text.
///
/// In float64, so that the losses differ by more than rounding only if the batches or the weights do: AdamW makes of a
/// gradient that is all rounding a step as large as any other, but only where the loss does not see it.
#[test]
fn other_ranks_resume_with_the_same_batches() {
    let scene = Scene::new(8, 4);
    let train = |run: &str, ranks| scene.train(run, ranks).set("model.dropout=0").set("precision=fp64");
    train("whole", 1).succeed();
    let expected = metrics(&scene.place.path("whole"));
    let groups: std::collections::HashSet<u64> = expected.iter().map(|s| s["length_group"].as_u64().unwrap()).collect();
    assert_eq!(groups.len(), 2, "both length groups are in play");

    train("two", 2).succeed();
    for (from, ranks) in [("whole", 2), ("whole", 4), ("two", 1)] {
        let name = format!("{from}-then-{ranks}");
        scene.copy_until(from, 4, &name);
        train(&name, ranks).arg("--resume").succeed();
        let found = metrics(&scene.place.path(&name));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            for key in ["step", "epoch", "dataset", "length_group", "tokens", "learning_rate"] {
                assert_eq!(found[key], expected[key], "{name}: {key} of step {}", expected["step"]);
            }
            close(&format!("{name}: loss"), number(&found["loss"]), number(&expected["loss"]), 1e-5);
        }
    }
}

/// A run folder can be moved, and then resumed where it is now.
#[test]
fn a_moved_run_resumes() {
    let scene = Scene::new(4, 2);
    scene.train("here", 1).succeed();
    let there = scene.copy_until("here", 2, "there");
    fs::remove_file(there.join("recipe.toml")).unwrap();
    copy_folder(&there, &scene.place.path("moved"));
    scene.train("moved", 1).arg("--resume").succeed();
    assert_same_run(&scene, "moved", "here", 4);
}
