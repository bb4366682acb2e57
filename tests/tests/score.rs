//! `tercet score`: pairs' scores, and how many passages of an index are better, against scoring each pair by itself.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tercet_tests::library::{Library, written};
use tercet_tests::place::{copy_folder, files_below};
use tercet_tests::program::Tercet;

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// What differs by less may be in either order: other texts were encoded beside.
const NEAR: f64 = 1e-5;

/// A library, and rows whose positives are passages of its corpus, of other words, or both.
struct Pairs {
    library: Library,
    /// Words of each row's query and of its positives.
    rows: Vec<(Vec<usize>, Vec<Vec<usize>>)>,
}

impl Pairs {
    fn new() -> Self {
        let library = Library::of(300, 150);
        let row = |(i, (_, query)): (usize, &(String, Vec<usize>))| {
            let doc = |i: usize| library.docs[i % 300].1.clone();
            let own = match i % 3 {
                0 => vec![doc(i)],
                1 => vec![query.iter().rev().copied().chain([5]).collect()],
                _ => vec![doc(299 - i), doc(i / 4)],
            };
            (query.clone(), own)
        };
        let rows: Vec<_> = library.queries.iter().enumerate().map(row).collect();
        let pairs = Self { library, rows };
        let line = |(query, own): &(Vec<usize>, Vec<Vec<usize>>)| {
            let own: Vec<String> = own.iter().map(|words| written(words)).collect();
            format!("{}\n", json!({"query": written(query), "pos": own}))
        };
        let lines: Vec<String> = pairs.rows.iter().map(line).collect();
        let place = pairs.library.place();
        place.write("a.jsonl", &lines[..100].concat());
        place.write("b.jsonl", &lines[100..].concat());
        let own: Vec<String> = pairs.rows.iter().flat_map(|(_, own)| own).map(|words| written(words)).collect();
        place.write("own.jsonl", &own.iter().map(|text| format!("{}\n", json!({"text": text}))).collect::<String>());
        pairs
    }

    fn score(&self, out: &str, ranks: usize) -> Tercet {
        let place = self.library.place();
        let command = Tercet::new("score").arg("--model").arg(&self.library.model).arg("--rows");
        let command = command.arg(place.path("a.jsonl")).arg(place.path("b.jsonl"));
        command.arg("--out").arg(place.path(out)).ranks(ranks)
    }

    fn found(&self, out: &str) -> Vec<Value> {
        let lines = |name: &str| fs::read_to_string(self.library.place().path(out).join(name)).unwrap();
        let all = lines("a.jsonl") + &lines("b.jsonl");
        all.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn numbers(of: &Value) -> Vec<f64> {
    of.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn assert_same_files(found: &Path, expected: &Path) {
    assert!(files_below(found) == files_below(expected), "{} and {}", found.display(), expected.display());
}

#[test]
fn what_is_counted_is_better_and_not_a_positive() {
    let pairs = Pairs::new();
    let (library, place) = (&pairs.library, pairs.library.place());
    library.index("index", 1).arg("--store").arg("fp32").arg("--heads").arg("dense").succeed();
    let top = 7;
    let score = |out: &str, ranks| {
        pairs.score(out, ranks).arg("--index").arg(place.path("index")).arg("--top").arg(top.to_string())
    };
    score("scores", 1).succeed();
    score("scores-2", 2).succeed();
    assert_same_files(&place.path("scores-2"), &place.path("scores"));

    let (docs, queries, own) = (library.encoded("corpus"), library.encoded("queries"), library.encoded("own"));
    let found = pairs.found("scores");
    assert_eq!(found.len(), pairs.rows.len());
    let (mut positive, mut counts) = (0, Vec::new());
    for (row, ((_, texts), found)) in pairs.rows.iter().zip(&found).enumerate() {
        let of_docs: Vec<f64> = docs.dense.iter().map(|doc| inner(&queries.dense[row], doc)).collect();
        for (score, better) in numbers(&found["pos_scores"]).into_iter().zip(numbers(&found["better"])) {
            let expected = inner(&queries.dense[row], &own.dense[positive]);
            assert!((score - expected).abs() < NEAR, "row {row}: {score} for {expected}");
            let others = || (0..300).filter(|doc| !texts.contains(&library.docs[*doc].1));
            let above = |limit: f64| others().filter(|doc| of_docs[*doc] > limit).count().min(top) as f64;
            let possible = above(expected + NEAR)..=above(expected - NEAR);
            assert!(possible.contains(&better), "row {row}: {better} of {possible:?}");
            counts.push(better as usize);
            positive += 1;
        }
    }
    // All sorts are among them.
    assert!([0, 1, 2, top].iter().all(|count| counts.contains(count)), "{counts:?}");
}

#[test]
fn scores_need_no_index_and_are_gone_on_with() {
    let pairs = Pairs::new();
    let place = pairs.library.place();
    pairs.score("scores", 2).succeed();
    assert!(pairs.found("scores").iter().all(|row| row.get("better").is_none() && row["pos_scores"].is_array()));
    // A killed one leaves whole files and perhaps an unfinished one.
    let before = files_below(&place.path("scores"));
    fs::remove_file(place.path("scores/b.jsonl")).unwrap();
    place.write("scores/b.jsonl.tercet-partial", "half");
    pairs.score("scores", 1).succeed();
    assert!(files_below(&place.path("scores")) == before);
    // Another question is not mixed with it.
    let other = pairs.score("scores", 1).arg("--query-max-len").arg("9").run();
    other.fails_with(
        2,
        &["score.json: these scores were begun with something else", "query_max_len: 512 there, 9 here"],
    );
    place.write("a.jsonl", "{\"query\": \"w5\", \"pos\": [\"w6\"]}\n");
    pairs.score("scores", 1).run().fails_with(2, &["begun with something else", "rows: "]);
    // What is there and is not ours stays.
    place.write("theirs/b.jsonl", "theirs");
    pairs.score("theirs", 1).run().fails_with(2, &["theirs/b.jsonl is there already"]);
    let own = place.write("score.json", "{\"query\": \"w5\", \"pos\": [\"w6\"]}\n");
    let words = ["score.json would be score.json there, which is the command's own: rename it"];
    Tercet::new("score")
        .arg("--model")
        .arg(&pairs.library.model)
        .arg("--rows")
        .arg(own)
        .arg("--out")
        .arg(place.path("own"))
        .run()
        .fails_with(2, &words);
    place.write("b.jsonl", "{\"query\": \"w5\", \"pos\": []}\n");
    pairs.score("wrong", 1).run().fails_with(4, &["b.jsonl:1: \"pos\" is empty"]);
}

/// Its tokenizer takes a word out of texts.
#[test]
fn texts_without_a_token_are_scored_and_told() {
    let library = Library::of(2, 2);
    let place = library.place();
    copy_folder(&library.model, &place.path("model"));
    let file = place.path("model/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    tokenizer["normalizer"] = json!({"type": "Replace", "pattern": {"String": "void"}, "content": ""});
    fs::write(&file, tokenizer.to_string()).unwrap();
    place.write("void.jsonl", "{\"query\": \"void\", \"pos\": [\"w6\", \"void\"]}\n");
    let score =
        Tercet::new("score").arg("--model").arg(place.path("model")).arg("--rows").arg(place.path("void.jsonl"));
    let scored = score.arg("--out").arg(place.path("scores")).ranks(2).run();
    assert_eq!(scored.code, Some(0), "{}", scored.stderr());
    let words = "void.jsonl: 2 queries and positives are without a token";
    assert_eq!(scored.stderr().matches(words).count(), 1, "{}", scored.stderr());
}
