//! The suite of exactness, for any backend: one rank and several get the same loss and the same gradients, whatever the
//! sub-batches and kept graphs.
//!
//! The tolerances allow only for another order of summation in the given precision: temperature 0.02 makes scores up to
//! 50, whose float32 rounding is about 1e-6 of a gradient.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::batch::TokenBatch;
use crate::compare::{close, number, same_gradients, same_step};
use crate::place::{Place, golden, recipe, topic_rows};
use crate::program::{Tercet, program};
use crate::tensors::{self, Tensors};
use serde_json::{Value, json};
use tercet_fixtures::RecipeBuilder;

/// The settings and environment variables with which several ranks are started. A single rank always runs on its own.
pub struct Backend {
    /// The largest number of ranks that are started.
    pub max_ranks: usize,
    /// `backend=…`, or none for the default.
    pub settings: Vec<String>,
    /// Variables by which its libraries are found.
    pub variables: Vec<(String, String)>,
}

impl Default for Backend {
    fn default() -> Self {
        Self { max_ranks: 4, settings: Vec::new(), variables: Vec::new() }
    }
}

impl Backend {
    fn of(&self, mut tercet: Tercet, ranks: usize) -> Tercet {
        if ranks > 1 {
            for setting in &self.settings {
                tercet = tercet.set(setting);
            }
            for (name, value) in &self.variables {
                tercet = tercet.env(name, value);
            }
        }
        tercet
    }
}

/// The objectives, as overrides of tests/recipes/golden.toml.
const OBJECTIVES: [&[&str]; 8] = [
    &["loss.preset=unified"],
    &["loss.preset=paper-v1"],
    &["loss.preset=independent"],
    &["loss.preset=dense"],
    &["data.two_way=true"],
    &["data.negatives=own"],
    &["loss.teacher=kl_div"],
    &["loss.teacher=m3_kd_loss", "loss.distill=false"],
];

/// How the texts are cut: singly, by threes, by tokens, all at once; with no graph kept, some, or all.
const CUTS: [&[&str]; 6] = [
    &["sub_batch_texts=1", "kept_graph_tokens=0"],
    &["sub_batch_texts=1", "kept_graph_tokens=100"],
    &["sub_batch_texts=3", "kept_graph_tokens=0"],
    &["sub_batch_texts=3", "kept_graph_tokens=1000000"],
    &["sub_batch_tokens=64", "kept_graph_tokens=100"],
    &["sub_batch_tokens=1000000", "kept_graph_tokens=1000000"],
];

/// The cut for an objective on a number of ranks. Together the objectives use every cut on every number of ranks.
fn cut(objective: usize, ranks: usize) -> &'static [&'static str] {
    CUTS[(objective + 2 * ranks) % CUTS.len()]
}

fn step(backend: &Backend, tokens: &Path, settings: &[&str], ranks: usize) -> Value {
    let command = Tercet::new("step").arg(recipe("golden.toml")).arg("--json").ranks(ranks);
    let command = command.arg("--model").arg(golden("nano_xlmr/hf")).arg("--tokens").arg(tokens);
    let command = backend.of(command, ranks);
    let output = settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
    serde_json::from_str(&output).unwrap()
}

/// `tercet step` on ragged texts with 8 queries, which three ranks cannot share equally.
pub fn step_is_the_same_on_any_ranks(backend: &Backend) {
    let place = Place::new();
    let tokens = place.path("batch.safetensors");
    TokenBatch::random(1, 8, 3, 32).write(&tokens);
    for (i, objective) in OBJECTIVES.iter().enumerate() {
        let expected = step(backend, &tokens, objective, 1);
        assert!(expected["false_negatives"].as_u64() > Some(0), "{objective:?}: nothing is masked");
        for ranks in 2..=backend.max_ranks {
            let settings = [objective, cut(i, ranks)].concat();
            let found = step(backend, &tokens, &settings, ranks);
            assert_eq!(found["world_size"], ranks);
            same_step(&format!("{settings:?} on {ranks} ranks"), &found, &expected, 1e-5);
        }
    }
}

/// The command that `tercet` starts can be typed by hand, and gives exactly the same figures.
pub fn mpirun_by_hand_does_the_same(backend: &Backend) {
    let place = Place::new();
    let tokens = place.path("batch.safetensors");
    TokenBatch::random(2, 6, 2, 20).write(&tokens);
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["-n", "2", "--allow-run-as-root", "--oversubscribe"]).arg(program("tercet-worker")).arg("step");
    mpirun.arg(recipe("golden.toml")).arg("--model").arg(golden("nano_xlmr/hf")).arg("--tokens").arg(&tokens);
    let by_hand: Value = serde_json::from_str(&backend.of(Tercet::through(mpirun, 2), 2).succeed()).unwrap();
    assert_eq!(by_hand, step(backend, &tokens, &[], 2));
}

/// Compares the gradient itself, of a batch that the sampler deals to the ranks, in float64.
///
/// After one update the optimizer's running mean of gradients, which a checkpoint holds by name, is (1 − beta1) times
/// the gradient; with beta1 = 0 it is the gradient.
pub fn gradients_are_the_same_on_any_ranks(backend: &Backend) {
    let place = Place::new();
    let store = place.store_of("rows", &rows_that_answer_each_other(), 64);
    let recipe = RecipeBuilder::new("exact", 1).set("precision", "fp64").set("model.path", golden("nano_xlmr/hf"));
    let recipe = recipe.set("model.dropout", 0.0).data(&store, [16, 32], 3).length_groups(&[(32, 12)]);
    let recipe = recipe.set("optimizer.beta1", 0.0).set("optimizer.max_grad_norm", 0.0);
    let recipe = place.recipe("recipe.toml", &recipe);
    for (i, objective) in OBJECTIVES.iter().enumerate() {
        let run = |ranks: usize, settings: &[&str]| {
            let run_dir = place.path(&format!("run-{i}-{ranks}-{}", settings.len()));
            let command = Tercet::new("train").arg(&recipe).ranks(ranks).set(format!("run_dir={}", run_dir.display()));
            let command = backend.of(command, ranks);
            settings.iter().fold(command, |command, setting| command.set(setting)).succeed();
            let metrics = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
            let metrics: Value = serde_json::from_str(&metrics).unwrap();
            (number(&metrics["loss"]), metrics["false_negatives"].as_u64().unwrap(), gradients(&run_dir))
        };
        let (expected_loss, masked, expected) = run(1, objective);
        assert!(masked > 0, "{objective:?}: no false negatives");
        let (unmasked_loss, ..) = run(1, &[objective, &["loss.mask_false_negatives=false"][..]].concat());
        assert!((unmasked_loss - expected_loss).abs() > 1e-6 * expected_loss, "{objective:?}: masking does nothing");
        for ranks in 2..=backend.max_ranks {
            let settings = [objective, cut(i, ranks)].concat();
            let what = format!("{settings:?} on {ranks} ranks");
            let (loss, found_masked, found) = run(ranks, &settings);
            assert_eq!(found_masked, masked, "{what}");
            assert!((loss - expected_loss).abs() <= 1e-10 * expected_loss, "{what}: {loss} for {expected_loss}");
            same_gradients(&what, &found, &expected, 1e-10);
        }
    }
}

/// Passages that travel in bfloat16 are rounded wherever they are, so that scores do not depend on ranks; their
/// gradients are rounded at every hop. What that makes of loss and gradient is in docs/know/exactness.md.
pub fn passages_in_bfloat16_score_the_same_on_any_ranks(backend: &Backend) {
    let place = Place::new();
    let store = place.store_of("rows", &rows_that_answer_each_other(), 64);
    let recipe = RecipeBuilder::new("ring", 1).set("precision", "fp64").set("model.path", golden("nano_xlmr/hf"));
    let recipe = recipe.set("model.dropout", 0.0).data(&store, [16, 32], 3).length_groups(&[(32, 12)]);
    let recipe = recipe.set("optimizer.beta1", 0.0).set("optimizer.max_grad_norm", 0.0);
    let recipe = place.recipe("recipe.toml", &recipe);
    let run = |ranks: usize, ring: &str| {
        let run_dir = place.path(&format!("run-{ring}-{ranks}"));
        let command = Tercet::new("train").arg(&recipe).ranks(ranks).set(format!("ring_precision={ring}"));
        backend.of(command.set(format!("run_dir={}", run_dir.display())), ranks).succeed();
        let metrics = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
        let metrics: Value = serde_json::from_str(&metrics).unwrap();
        (number(&metrics["loss"]), gradients(&run_dir))
    };
    let (exact, exact_gradients) = run(1, "full");
    let (expected, alone) = run(1, "bf16");
    let change = (expected / exact - 1.0).abs();
    println!("1 rank: loss off by {change:.1e}, gradient by {:.1e}", difference(&alone, &exact_gradients));
    assert!(change > 0.0 && change < RING_CHANGES[0], "{exact} and {expected}");
    assert!(difference(&alone, &exact_gradients) < RING_CHANGES[1]);
    for ranks in 2..=backend.max_ranks {
        let (loss, found) = run(ranks, "bf16");
        close(&format!("{ranks} ranks"), loss, expected, 1e-10);
        let off = difference(&found, &alone);
        println!("{ranks} ranks: gradient off from one's by {off:.1e}");
        assert!(off > 0.0 && off < RING_CHANGES[1], "{ranks} ranks: {off}");
    }
}

/// What `ring_precision = "bf16"` may change of a loss and of a gradient: a few times as much as was found.
const RING_CHANGES: [f64; 2] = [4e-3, 1e-2];

/// The norm of the difference as a share of the expected norm, of all gradients together.
fn difference(found: &Tensors, expected: &Tensors) -> f64 {
    let pairs = expected.iter().flat_map(|(name, gradient)| found[name].iter().zip(gradient));
    let (off, all) = pairs.fold((0.0, 0.0), |(off, all), (a, b)| (off + (a - b) * (a - b), all + b * b));
    (off / all).sqrt()
}

/// 12 rows. Two have the same query, two have the same positive, one has its own positive as a negative, and some
/// negatives are other rows' positives, chosen in the batch or not.
fn rows_that_answer_each_other() -> Vec<Value> {
    let mut rows = topic_rows((0..12).map(|i| 2 + (i * 7) % 28), 64);
    rows[7]["query"] = rows[2]["query"].clone();
    rows[9]["pos"] = rows[1]["pos"].clone();
    rows[5]["neg"][1] = rows[5]["pos"][0].clone();
    rows[4]["neg"][0] = rows[1]["pos"][0].clone();
    rows[8]["pos"] = json!([rows[8]["pos"][0], rows[3]["neg"][0]]);
    rows[8]["pos_scores"] = json!([0.9, 0.8]);
    rows
}

fn gradients(run_dir: &Path) -> Tensors {
    let state = tensors::read(&run_dir.join("step-00000001/train/optimizer.safetensors"));
    let means = state.into_iter().filter_map(|(name, mean)| Some((name.strip_prefix("mean.")?.to_owned(), mean)));
    means.collect()
}
