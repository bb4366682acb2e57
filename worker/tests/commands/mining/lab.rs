//! What `mine` must find, by hand from what `encode` makes of the texts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use serde_json::{Value, json};

use crate::commands::fixture::{Fixture, lines, read_lines, words};
use crate::commands::job;

const NUM_DOCS: usize = 300;
pub const NUM_ROWS: usize = 80;

/// Rows, a corpus, and what the model makes of their texts.
pub struct Lab {
    pub fixture: Fixture,
    pub rows: Vec<Value>,
    /// Names and texts.
    pub docs: Vec<(String, String)>,
    of: HashMap<String, Encoded>,
}

#[derive(Clone)]
struct Encoded {
    dense: Vec<f64>,
    lexical: BTreeMap<String, f64>,
    multi_vector: Vec<Vec<f64>>,
}

pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Encoded {
    fn lexical(&self, other: &Self) -> f64 {
        self.lexical.iter().map(|(token, weight)| weight * other.lexical.get(token).unwrap_or(&0.0)).sum()
    }

    fn late(&self, other: &Self) -> f64 {
        let best = |own: &Vec<f64>| other.multi_vector.iter().map(|their| inner(own, their)).fold(-9.0, f64::max);
        self.multi_vector.iter().map(best).sum::<f64>() / self.multi_vector.len() as f64
    }

    fn score(&self, other: &Self, ranking: &str) -> f64 {
        let dense = inner(&self.dense, &other.dense);
        match ranking {
            "dense" => dense,
            "lexical" => self.lexical(other),
            "dense_lexical" => dense + 0.3 * self.lexical(other),
            "multi_vector" => self.late(other),
            _ => dense + 0.3 * self.lexical(other) + self.late(other),
        }
    }
}

impl Lab {
    pub fn new() -> Self {
        let fixture = Fixture::new();
        let doc = |i: usize| (format!("doc{}#{}", i / 3, i % 3), words(i * 3, 6 + i * 7 % 20));
        let mut docs: Vec<(String, String)> = (0..NUM_DOCS).map(doc).collect();
        // Copies under other names, and nearly the same as others: a positive's among them.
        for i in 0..20 {
            docs.push((format!("copy{i}"), docs[i * 5].1.clone()));
            docs.push((format!("near{i}"), format!("{} w299", docs[i * 4 + 1].1)));
        }
        let row = |i: usize| {
            let pos: Vec<&str> = (0..1 + i % 2).map(|k| docs[(i * 4 + 1 + k * 50) % NUM_DOCS].1.as_str()).collect();
            let answers = [format!("w{}", i * 11 % 300), "not there".to_owned()];
            // Some ask what another asks.
            let query = words(if i % 9 == 8 { i - 3 } else { i }, 4);
            let language = ["aa", "bb"][i % 2];
            json!({"query": query, "pos": pos, "answers": answers, "lang": language})
        };
        let rows: Vec<Value> = (0..NUM_ROWS).map(row).collect();
        fixture.write("rows.jsonl", lines(rows.iter().cloned()));
        let line = |(id, text): &(String, String)| json!({"_id": id, "text": text});
        fixture.write("corpus.jsonl", lines(docs.iter().map(line)));

        let texts: BTreeSet<String> = docs
            .iter()
            .map(|(_, text)| text.clone())
            .chain(rows.iter().map(|row| row["query"].as_str().unwrap().to_owned()))
            .collect();
        let texts: Vec<String> = texts.into_iter().collect();
        let input = fixture.write("texts.txt", texts.join("\n"));
        let (model, out) = (fixture.path("model"), fixture.path("texts.jsonl"));
        let paths = format!("--model {} --input {} --out {}", model.display(), input.display(), out.display());
        job::run(1, &format!("encode {paths}")).unwrap();
        let encoded = read_lines(&out).into_iter().map(|line| Encoded {
            dense: numbers(&line["dense"]),
            lexical: serde_json::from_value(line["lexical"].clone()).unwrap(),
            multi_vector: line["multi_vector"].as_array().unwrap().iter().map(numbers).collect(),
        });
        let of = texts.iter().cloned().zip(encoded).collect();
        Self { fixture, rows, docs, of }
    }

    pub fn mine(&self, ranks: usize, options: &str) -> Result<(Vec<Value>, Value), (i32, String)> {
        let out = self.fixture.path("mined.jsonl");
        let report = self.fixture.path("mined.jsonl.mine.json");
        for left in [&out, &report] {
            let _ = fs::remove_file(left); // of the last time
        }
        let [model, rows] = ["model", "rows.jsonl"].map(|name| self.fixture.path(name).display().to_string());
        let paths = format!("--model {model} --rows {rows} --out {}", out.display());
        job::run(ranks, &format!("mine {paths} {options}"))?;
        assert!(!self.fixture.path("mined.jsonl.index").exists());
        Ok((read_lines(&out), serde_json::from_slice(&fs::read(&report).unwrap()).unwrap()))
    }

    pub fn corpus(&self) -> String {
        format!("--corpus {}", self.fixture.path("corpus.jsonl").display())
    }

    pub fn index(&self) -> String {
        let [model, corpus, out] = ["model", "corpus.jsonl", "index"].map(|name| self.fixture.path(name));
        if !out.exists() {
            let paths = format!("--model {} --corpus {} --out {}", model.display(), corpus.display(), out.display());
            job::run(2, &format!("index {paths} --store fp32")).unwrap();
        }
        format!("--index {}", out.display())
    }

    pub fn query(&self, row: usize) -> &str {
        self.rows[row]["query"].as_str().unwrap()
    }

    pub fn positives(&self, row: usize) -> Vec<&str> {
        self.rows[row]["pos"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
    }

    pub fn score(&self, row: usize, text: &str, ranking: &str) -> f64 {
        self.of[self.query(row)].score(&self.of[text], ranking)
    }

    /// What has ranks for a row: places among the passages, best first.
    pub fn ranked(&self, row: usize, ranking: &str) -> Vec<usize> {
        let same = |other: &usize| self.query(*other) == self.query(row);
        let known: BTreeSet<&str> = (0..NUM_ROWS).filter(same).flat_map(|other| self.positives(other)).collect();
        let mut seen = BTreeSet::new();
        let mut left: Vec<usize> = (0..self.docs.len())
            .filter(|doc| !known.contains(self.docs[*doc].1.as_str()) && seen.insert(&self.docs[*doc].1))
            .collect();
        let score = |doc: &usize| self.score(row, &self.docs[*doc].1, ranking);
        if ranking == "lexical" {
            left.retain(|doc| score(doc) > 0.0);
        }
        left.sort_by(|a, b| score(b).total_cmp(&score(a)));
        left
    }
}
