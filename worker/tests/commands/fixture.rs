//! A small model with a tokenizer, and a small retrieval data set, made on the spot.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use tercet_fixtures::{ModelConfig, word_tokenizer};
use tercet_worker::model::{Init, M3Model, ModelOptions};

/// Words that the tokenizer knows: `w0`, `w1`, …
pub const NUM_WORDS: usize = 300;
/// Tokens of a text at most.
pub const MAX_LEN: usize = 128;

/// A folder with everything in it.
pub struct Fixture {
    dir: TempDir,
}

impl Fixture {
    /// A model of fresh weights in `model/`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        let source = dir.path().join("source");
        fs::create_dir(&model).unwrap();
        fs::create_dir(&source).unwrap();
        let (config, tokenizer) = (source.join("config.json"), source.join("tokenizer.json"));
        let tiny = ModelConfig::tiny(NUM_WORDS + 4, MAX_LEN);
        let shape = ModelConfig { hidden_size: 32, intermediate_size: 64, initializer_range: 0.2, ..tiny };
        fs::write(&config, shape.json().to_string()).unwrap();
        let words = (0..NUM_WORDS).map(|i| format!("w{i}"));
        fs::write(&tokenizer, word_tokenizer(words).to_string()).unwrap();
        let options = ModelOptions::default();
        let fresh = M3Model::fresh(&config, &options, Device::Cpu, Kind::Float).unwrap();
        // libtorch has one generator, from which the tests of other threads draw as well. So these weights are
        // computed.
        for (i, spec) in fresh.parameters.specs().iter().enumerate() {
            if let Init::Normal(deviation) = spec.init {
                let place = Tensor::arange(spec.numel(), (Kind::Double, Device::Cpu));
                let even = ((place * 12.9898 + i as f64).sin() * 43_758.545_3).frac(); // between -1 and 1
                let mut leaf = fresh.parameters.leaf(&spec.name);
                tch::no_grad(|| leaf.copy_(&(even * (deviation * 3f64.sqrt())).view(spec.shape.as_slice())));
            }
        }
        fresh.save(&model).unwrap();
        Self { dir }
    }

    /// The path of `name` in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes the file `name` and returns its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A BEIR folder `name`: a query's words come from the document that it is judged with.
    pub fn write_beir(&self, name: &str, num_docs: usize, num_queries: usize) -> PathBuf {
        let doc =
            |i: usize| json!({"_id": format!("d{i}"), "title": format!("w{}", i % 9), "text": words(i, 3 + i % 90)});
        let query = |i: usize| json!({"_id": format!("q{i}"), "text": words(i * 2, 3)});
        let judgment = |i: usize| format!("q{i}\td{}\t{}\nq{i}\td{}\t1\n", i * 2, 1 + i % 2, (i * 7 + 1) % num_docs);
        self.write(&format!("{name}/corpus.jsonl"), lines((0..num_docs).map(doc)));
        self.write(&format!("{name}/queries.jsonl"), lines((0..num_queries).map(query)));
        let judgments: String = (0..num_queries).map(judgment).collect();
        self.write(&format!("{name}/qrels/test.tsv"), format!("query-id\tcorpus-id\tscore\n{judgments}"));
        self.path(name)
    }
}

/// `count` words that `seed` fixes.
pub fn words(seed: usize, count: usize) -> String {
    let word = |i: usize| format!("w{}", (seed * 7919 + i * i * 31 + i * 17) % NUM_WORDS);
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

/// One JSON value a line.
pub fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

/// The JSON values of a file, one a line.
pub fn read_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
