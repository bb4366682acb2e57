//! Losses and gradients that are no numbers. The models here have NaN for weights of one word, which only some rows
//! have: nothing in the program is told to fail.

#![allow(clippy::unwrap_used)]

use std::fs;

use safetensors::SafeTensors;
use serde_json::Value;
use tercet_tests::place::topic_rows;
use tercet_tests::program::Tercet;
use tercet_tests::scene::{Scene, VOCABULARY, assert_same_run, evaluations, metrics};

/// One epoch: every row once.
const STEPS: u64 = 10;

/// Rows of two steps in the middle, with some between them.
pub const BAD: [usize; 2] = [21, 30];

/// Rows of which those of `bad` end in a word that the model has no numbers for, and that model. All rows are of one
/// length group.
pub struct Faulty {
    pub scene: Scene,
}

impl Faulty {
    pub fn new(bad: &[usize], checkpoint_every: u64) -> Self {
        let mut rows = topic_rows((0..40).map(|i| 4 + i % 7), VOCABULARY);
        for &row in bad {
            rows[row]["query"] = format!("{} w{VOCABULARY}", rows[row]["query"].as_str().unwrap()).into();
        }
        let scene = Scene::of(&rows, STEPS, checkpoint_every);
        scene.train("start", 1).set("steps=0").succeed();
        let model = scene.checkpoint("start", 0).join("model");
        let path = model.join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let row = {
            let file = SafeTensors::deserialize(&bytes).unwrap();
            let table = file.tensor("embeddings.word_embeddings.weight").unwrap();
            let width = table.shape()[1] * 4;
            let start = table.data().as_ptr() as usize - bytes.as_ptr() as usize;
            start + VOCABULARY * width..start + (VOCABULARY + 1) * width
        };
        bytes[row].copy_from_slice(&f32::NAN.to_le_bytes().repeat(32));
        fs::write(&path, bytes).unwrap();
        let recipe = fs::read_to_string(&scene.recipe).unwrap();
        let lines = recipe.lines().map(|line| match line.starts_with("model.config = ") {
            true => format!("model.path = \"{}\"\n", model.display()),
            false => format!("{line}\n"),
        });
        let changed = lines.collect::<String>();
        assert_ne!(changed, recipe, "the recipe names the model otherwise");
        scene.place.write("recipe.toml", &changed);
        Self { scene }
    }

    pub fn train(&self, run: &str, ranks: usize) -> Tercet {
        let train = self.scene.train(run, ranks).set("data.length_groups=[{max_len=64,global_batch=4}]");
        train.set("data.group_size=1").set("faults.max_in_a_row=3")
    }

    pub fn log(&self, run: &str) -> String {
        fs::read_to_string(self.scene.place.path(run).join("train.log")).unwrap()
    }

    /// The warnings of skipped updates.
    fn faults(&self, run: &str) -> Vec<String> {
        self.log(run).lines().filter(|line| line.contains("update skipped")).map(str::to_owned).collect()
    }

    fn skipped(&self, run: &str) -> Vec<u64> {
        let mut before = 0;
        let grown = metrics(&self.scene.place.path(run)).into_iter().filter_map(|step| {
            let now = step["skipped"].as_u64().unwrap();
            let grown = now > before;
            before = now;
            grown.then(|| step["step"].as_u64().unwrap())
        });
        grown.collect()
    }
}

fn state(faulty: &Faulty, run: &str, step: u64) -> Value {
    let text = fs::read_to_string(faulty.scene.checkpoint(run, step).join("train/state.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The step makes no update, its rows are named, and the run goes on as it would have without that batch.
#[test]
fn a_step_with_a_bad_row_is_skipped_and_the_row_named() {
    let faulty = Faulty::new(&BAD, 1);
    let ended = faulty.train("run", 1).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    let faults = faulty.faults("run");
    assert!(
        !faults.is_empty() && ended.stderr().contains(faults[0].split_once("step").unwrap().1),
        "on the terminal too"
    );
    for (i, fault) in faults.iter().enumerate() {
        let row = BAD[i];
        let words = [
            "loss NaN, gradient norm NaN: rank 0 (",
            &format!("dense and lexical and multi-vector representations, rows rows:{row} (row {} of ", row + 1),
            "rows.jsonl); first parameter ",
            "the weights of embeddings.word_embeddings.weight are themselves not finite",
            &format!("update skipped (1 in a row, {} in all)", i + 1),
        ];
        words.iter().for_each(|word| assert!(fault.contains(word), "{fault}: nothing of {word}"));
    }
    let skipped = faulty.skipped("run");
    assert_eq!(skipped.len(), faults.len());
    assert_eq!(state(&faulty, "run", STEPS)["skipped"], skipped.len());
    let losses = metrics(&faulty.scene.place.path("run"));
    for step in &losses {
        assert_eq!(step["loss"].is_null(), skipped.contains(&step["step"].as_u64().unwrap()), "{step}");
    }

    // No checkpoint between a fault and the next update, and the same bits from the one after.
    let first = skipped[0];
    assert!(first > 1 && first + 1 < STEPS, "the bad row's batch is neither first nor last");
    assert!(!faulty.scene.checkpoint("run", first).exists());
    for done in [first - 1, first + 1] {
        let name = format!("from-{done}");
        faulty.scene.copy_until("run", done, &name);
        faulty.train(&name, 1).arg("--resume").succeed();
        assert_same_run(&faulty.scene, &name, "run", STEPS);
    }
}

/// Going back and leaving the batch out gives the weights that skipping it gives.
#[test]
fn a_run_rolls_back_and_leaves_the_batch_out() {
    let faulty = Faulty::new(&BAD, 2);
    faulty.train("skips", 1).succeed();
    let first = faulty.skipped("skips")[0];
    assert!(first > 2, "there is a checkpoint before the bad row's batch");
    let train = |run: &str| faulty.train(run, 1).set("faults.max_in_a_row=1").set("faults.then=roll_back");
    train("rolls").succeed();
    let back = format!("rolled back from step {first} to step {}", (first - 1) / 2 * 2);
    assert!(faulty.log("rolls").contains(&back), "{}", faulty.log("rolls"));
    assert_eq!(faulty.skipped("rolls"), faulty.skipped("skips"));
    for file in ["model/model.safetensors", "train/optimizer.safetensors"] {
        let [rolls, skips] = ["rolls", "skips"].map(|run| faulty.scene.checkpoint(run, STEPS).join(file));
        assert!(fs::read(rolls).unwrap() == fs::read(skips).unwrap(), "{file} differs");
    }
    let left_out = &state(&faulty, "rolls", STEPS)["left_out"];
    assert_eq!(left_out.as_array().unwrap().len(), faulty.faults("rolls").len());
    assert_eq!(left_out[0], first);

    // From before the fault: it rolls back again. From after it: it is remembered.
    for done in [(first - 1) / 2 * 2, first + 1 + (first + 1) % 2] {
        let name = format!("rolls-from-{done}");
        faulty.scene.copy_until("rolls", done, &name);
        train(&name).arg("--resume").succeed();
        assert_same_run(&faulty.scene, &name, "rolls", STEPS);
    }
}

/// Evaluations are as if the batch had been skipped, and each step has one.
#[test]
fn a_run_that_rolls_back_is_judged_as_one_that_skips() {
    let faulty = Faulty::new(&BAD, 2);
    faulty.scene.write_judged("small", 12);
    let data = [faulty.scene.place.path("small")];
    let train = |run: &str| {
        let train = faulty.train(run, 1).set(format!("eval.data={data:?}")).set("eval.split=test");
        train.set("eval.every_steps=2")
    };
    train("skips").succeed();
    train("rolls").set("faults.max_in_a_row=1").set("faults.then=roll_back").succeed();
    assert!(faulty.log("rolls").contains("rolled back from step"), "{}", faulty.log("rolls"));
    let figures = |run: &str| -> Vec<(u64, f64)> {
        let value = |line: &Value| (line["step"].as_u64().unwrap(), line["eval/small/dense/ndcg@10"].as_f64().unwrap());
        evaluations(&faulty.scene.place.path(run)).iter().map(value).collect()
    };
    let found = figures("rolls");
    assert_eq!(found, figures("skips"));
    assert!(found.len() > 3 && found.windows(2).all(|pair| pair[0].0 < pair[1].0), "{found:?}");
}

#[test]
fn a_run_stops_where_the_recipe_says_so() {
    let faulty = Faulty::new(&BAD, 2);
    let stops = || faulty.train("stops", 1).set("faults.max_in_a_row=1");
    let words = ["rows rows:21", "1 in a row: faults.max_in_a_row is reached", "[faults]", "--resume"];
    stops().run().fails_with(4, &words);
    // It goes on by another rule, and comes to what a run by that rule comes to.
    faulty.train("stops", 1).arg("--resume").succeed();
    faulty.train("whole", 1).succeed();
    assert_same_run(&faulty.scene, "stops", "whole", STEPS);

    let none = Faulty::new(&(0..40).collect::<Vec<_>>(), 2);
    let rolls = none.train("rolls", 2).set("faults.then=roll_back");
    rolls.run().fails_with(4, &["3 in a row: there is no checkpoint yet to roll back to"]);
}

/// A learning rate that ruins the weights at the first update: leaving batches out cannot help.
#[test]
fn rolling_back_without_progress_ends() {
    let scene = Scene::new(40, 1);
    let train = scene.train("run", 2).set("optimizer.learning_rate=1e30").set("optimizer.warmup_ratio=0");
    let ended = train.set("faults.then=roll_back").run();
    ended.fails_with(4, &["rolling back and leaving batches out did not help", "are as after step"]);
    let log = fs::read_to_string(scene.place.path("run/train.log")).unwrap();
    assert_eq!(log.matches("rolled back").count(), 1, "{log}");
}

/// Each rank's rows by that rank's name, and all of them.
#[test]
fn the_rank_that_has_the_row_is_named() {
    let bad = [3, 8, 17, 21, 30];
    let faulty = Faulty::new(&bad, 0);
    faulty.train("run", 2).set("faults.max_in_a_row=100").succeed();
    let faults = faulty.faults("run");
    let named = |rank: usize| -> Vec<usize> {
        let parts =
            faults.iter().flat_map(|fault| fault.split(" | ")).filter(|part| part.contains(&format!("rank {rank} (")));
        let rows = parts.flat_map(|part| part.split("rows:").skip(1));
        rows.map(|text| text.split(' ').next().unwrap().parse().unwrap()).collect()
    };
    let (first, second) = (named(0), named(1));
    assert!(!first.is_empty() && !second.is_empty(), "{faults:?}");
    assert!(first.iter().chain(&second).all(|row| bad.contains(row)), "{faults:?}");
    let mut all: Vec<usize> = first.into_iter().chain(second).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, bad, "{faults:?}");

    // Only rank 1's rows bad: it alone is named.
    let alone = faults.iter().find(|fault| fault.contains("rank 1 (") && !fault.contains("rank 0 (")).unwrap();
    assert!(alone.contains("representations, rows rows:"), "{alone}");
}

/// Spikes are told and counted, and a resumed run counts on.
#[test]
fn spikes_of_the_gradient_norm_are_counted() {
    let scene = Scene::new(40, 20);
    // So low a bound that ordinary steps pass it.
    let train = |run: &str| scene.train(run, 1).set("faults.grad_norm_spike=0.3");
    train("whole").succeed();
    let log = fs::read_to_string(scene.place.path("whole/train.log")).unwrap();
    let told = log.matches("times the median of the steps before (data set rows)").count();
    let counts: Vec<u64> =
        metrics(&scene.place.path("whole")).iter().map(|step| step["grad_norm_spikes"].as_u64().unwrap()).collect();
    assert!(told > 0 && counts.is_sorted() && counts[39] == told as u64, "{counts:?} {log}");
    assert!(counts[19] > 0 && counts[39] > counts[19], "spikes on both sides of the checkpoint: {counts:?}");
    scene.copy_until("whole", 20, "resumed");
    train("resumed").arg("--resume").succeed();
    assert_same_run(&scene, "resumed", "whole", 40);
}
