//! A small model, a corpus and queries, to be indexed and searched.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::json;

use crate::place::Place;
use crate::program::Tercet;
use crate::random::Random;
use crate::scene::{Scene, VOCABULARY};

/// Passages, unless it is said.
pub const NUM_DOCS: usize = 700;
/// Queries, unless it is said.
pub const NUM_QUERIES: usize = 70;

/// A model, and a corpus of three blocks with queries, of words that are a token each.
pub struct Library {
    /// Where all of it is.
    pub scene: Scene,
    /// The model's folder.
    pub model: PathBuf,
    /// Names and words.
    pub docs: Vec<(String, Vec<usize>)>,
    /// Names and words.
    pub queries: Vec<(String, Vec<usize>)>,
}

/// Words as a text.
pub fn written(words: &[usize]) -> String {
    words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ")
}

impl Library {
    /// A library of the usual size.
    #[allow(clippy::new_without_default)] // A default costs no process.
    pub fn new() -> Self {
        Self::of(NUM_DOCS, NUM_QUERIES)
    }

    /// A library of `num_docs` passages and `num_queries` queries.
    pub fn of(num_docs: usize, num_queries: usize) -> Self {
        let scene = Scene::new(1, 0);
        scene.train("start", 1).set("steps=0").succeed();
        let model = scene.checkpoint("start", 0).join("model");
        let mut random = Random::new(11);
        let mut texts = |name: &str, count: usize, longest: usize| -> Vec<(String, Vec<usize>)> {
            let mut text = |_| (0..1 + random.within(0..longest)).map(|_| random.within(4..VOCABULARY)).collect();
            // The order of names is not that of places.
            (0..count).map(|i| (format!("{name}{}", i * 7919 % count), text(i))).collect()
        };
        let (mut docs, queries) = (texts("d", num_docs, 40), texts("q", num_queries, 6));
        // Some have the words of another, so that scores are equal, also over the ends of blocks and lists.
        for i in 0..num_docs / 3 {
            docs[num_docs - 1 - i].1 = docs[i / 4].1.clone();
        }
        let library = Self { scene, model, docs, queries };
        let lines = |texts: &[(String, Vec<usize>)]| -> String {
            texts.iter().map(|(id, words)| format!("{}\n", json!({"_id": id, "text": written(words)}))).collect()
        };
        library.place().write("corpus.jsonl", &lines(&library.docs));
        library.place().write("queries.jsonl", &lines(&library.queries));
        library
    }

    /// Its folder.
    pub fn place(&self) -> &Place {
        &self.scene.place
    }

    /// The command that makes the index `out`.
    pub fn index(&self, out: &str, ranks: usize) -> Tercet {
        let command = Tercet::new("index").arg("--model").arg(&self.model).arg("--corpus");
        command.arg(self.place().path("corpus.jsonl")).arg("--out").arg(self.place().path(out)).ranks(ranks)
    }

    /// The command that searches `index` and writes `out`.
    pub fn search(&self, index: &str, out: &str, ranks: usize) -> Tercet {
        let command = Tercet::new("search").arg("--model").arg(&self.model).arg("--index");
        let command = command.arg(self.place().path(index)).arg("--queries").arg(self.place().path("queries.jsonl"));
        command.arg("--out").arg(self.place().path(out)).ranks(ranks)
    }

    /// What `tercet encode` makes of `texts`.
    pub fn encoded(&self, name: &str) -> Encoded {
        let out = self.place().path(&format!("{name}.safetensors"));
        let encode = Tercet::new("encode").arg("--model").arg(&self.model).arg("--input");
        encode.arg(self.place().path(&format!("{name}.jsonl"))).arg("--out").arg(&out).succeed();
        Encoded::read(&out)
    }
}

/// Representations, text by text.
pub struct Encoded {
    /// The dense vector of each.
    pub dense: Vec<Vec<f32>>,
    /// Token → weight, of each.
    pub lexical: Vec<BTreeMap<i64, f32>>,
    /// The vectors of each.
    pub multi_vector: Vec<Vec<Vec<f32>>>,
}

impl Encoded {
    /// The bytes of the file at `path`.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let longs = |name: &str| -> Vec<i64> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let floats = |name: &str| -> Vec<f32> {
            let data = file.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let rows = |name: &str| -> Vec<Vec<f32>> {
            let width = file.tensor(name).unwrap().shape()[1];
            floats(name).chunks_exact(width).map(<[f32]>::to_vec).collect()
        };
        let (tokens, weights, vectors) =
            (longs("lexical.token_ids"), floats("lexical.weights"), rows("multi_vector.vectors"));
        let of = |offsets: Vec<i64>| offsets.windows(2).map(|w| w[0] as usize..w[1] as usize).collect::<Vec<_>>();
        let lexical = of(longs("lexical.offsets")).into_iter();
        let multi_vector = of(longs("multi_vector.offsets")).into_iter();
        Self {
            dense: rows("dense"),
            lexical: lexical.map(|own| own.map(|i| (tokens[i], weights[i])).collect()).collect(),
            multi_vector: multi_vector.map(|own| vectors[own].to_vec()).collect(),
        }
    }
}
