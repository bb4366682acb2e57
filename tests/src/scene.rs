//! A training run small enough to be repeated many times, and a comparison of two runs.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_fixtures::{ModelConfig, RecipeBuilder};

use crate::place::{Place, topic_rows};
use crate::program::Tercet;

/// The number of words of the scene's rows; the tokenizer and the model know one more, which no row has.
pub const VOCABULARY: usize = 100;

/// The start of a run: a store with two length groups, a small fresh model with dropout, a recipe of `steps` steps.
pub struct Scene {
    /// Its folder.
    pub place: Place,
    /// The recipe.
    pub recipe: PathBuf,
}

impl Scene {
    /// A scene whose rows are about one topic each.
    pub fn new(steps: u64, checkpoint_every: u64) -> Self {
        let lens = (0..40).map(|i| if i % 3 == 0 { 30 + i % 17 } else { 4 + i % 11 });
        Self::of(&topic_rows(lens, VOCABULARY), steps, checkpoint_every)
    }

    /// A scene with `rows`.
    pub fn of(rows: &[Value], steps: u64, checkpoint_every: u64) -> Self {
        let place = Place::new();
        let store = place.store_of("rows", rows, VOCABULARY + 1);
        let tokenizer = place.word_tokenizer("model/tokenizer.json", VOCABULARY + 1);
        let tiny = ModelConfig::tiny(VOCABULARY + 1, 64);
        let config =
            ModelConfig { hidden_size: 32, intermediate_size: 64, initializer_range: 0.1, dropout: 0.1, ..tiny };
        let config = place.model_config("model/config.json", &config);
        let recipe = RecipeBuilder::new("resume", steps).fresh_model(&config, &tokenizer).data(&store, [16, 64], 2);
        let recipe =
            recipe.length_groups(&[(20, 8), (64, 4)]).set("data.shuffle_ratio", 0.5).set("sub_batch_tokens", 256);
        let recipe = recipe.set("loss.distill_start_step", 3).set("optimizer.learning_rate", 1e-3);
        let recipe = recipe.set("checkpoint.every_steps", checkpoint_every).set("checkpoint.keep", 0);
        let recipe = place.recipe("recipe.toml", &recipe);
        Self { place, recipe }
    }

    /// The command that trains in the run folder `run`.
    pub fn train(&self, run: &str, ranks: usize) -> Tercet {
        let run_dir = self.place.path(run);
        Tercet::new("train").arg(&self.recipe).ranks(ranks).set(format!("run_dir={}", run_dir.display()))
    }

    /// Writes an evaluation folder: `num` queries with one relevant document each, among three times as many.
    pub fn write_judged(&self, name: &str, num: usize) {
        let rows = topic_rows((0..num).map(|i| 5 + i % 20), VOCABULARY);
        let (mut corpus, mut queries, mut qrels) =
            (String::new(), String::new(), "query-id\tcorpus-id\tscore\n".to_owned());
        for (i, row) in rows.iter().enumerate() {
            let texts = [&row["pos"][0], &row["neg"][0], &row["neg"][1]];
            for (place, text) in texts.into_iter().enumerate() {
                corpus += &format!("{}\n", json!({"_id": format!("d{i}-{place}"), "text": text}));
            }
            queries += &format!("{}\n", json!({"_id": format!("q{i}"), "text": row["query"]}));
            qrels += &format!("q{i}\td{i}-0\t1\n");
        }
        self.place.write(&format!("{name}/corpus.jsonl"), &corpus);
        self.place.write(&format!("{name}/queries.jsonl"), &queries);
        self.place.write(&format!("{name}/qrels/test.tsv"), &qrels);
    }

    /// The path of the checkpoint of `step`.
    pub fn checkpoint(&self, run: &str, step: u64) -> PathBuf {
        self.place.path(run).join(format!("step-{step:08}"))
    }

    /// A copy of a run with its checkpoints up to that of `step`.
    pub fn copy_until(&self, run: &str, step: u64, name: &str) -> PathBuf {
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

/// The lines of metrics.jsonl that are steps'.
pub fn metrics(run_dir: &Path) -> Vec<Value> {
    lines_of_metrics(run_dir).into_iter().filter(|line| line.get("eval_secs").is_none()).collect()
}

/// The lines of metrics.jsonl that are evaluations'.
pub fn evaluations(run_dir: &Path) -> Vec<Value> {
    lines_of_metrics(run_dir).into_iter().filter(|line| line.get("eval_secs").is_some()).collect()
}

fn lines_of_metrics(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The figures of a step that do not depend on the machine's speed.
fn timeless(step: &Value) -> Vec<Value> {
    let keys = [
        "step",
        "epoch",
        "dataset",
        "length_group",
        "tokens",
        "loss",
        "terms",
        "learning_rate",
        "grad_norm",
        "skipped",
        "grad_norm_spikes",
    ];
    assert!(keys.iter().all(|key| step.get(key).is_some()), "{step}");
    keys.iter().map(|key| step[key].clone()).collect()
}

/// Compares weights, heads, optimizer state and progress, byte for byte, and the history of every step.
pub fn assert_same_run(scene: &Scene, found: &str, expected: &str, steps: u64) {
    for file in [
        "model/model.safetensors",
        "model/colbert_linear.pt",
        "model/sparse_linear.pt",
        "train/optimizer.safetensors",
        "train/state.json",
    ] {
        let read = |run: &str| fs::read(scene.checkpoint(run, steps).join(file)).unwrap();
        // The state has the recipe's hash, which depends on the run folder.
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
