//! `tercet import`: what it makes of published layouts is what `prepare` and `eval` read.

#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};
use tercet_tests::place::Place;
use tercet_tests::program::{Tercet, program};
use tercet_tests::scene::{Scene, VOCABULARY};

/// `tercet import` with these words.
fn import(place: &Place, words: &[&str]) -> Tercet {
    // `tercet` starts the program beside it, which must be that of the sources.
    program("tercet-curate");
    let root = format!("{}/", place.path("").display().to_string().trim_end_matches('/'));
    words.iter().fold(Tercet::new("import"), |command, word| command.arg(word.replace("@", &root)))
}

#[test]
fn a_squad_becomes_rows_and_rows_become_a_store() {
    let place = Place::new();
    let paragraph = |n: usize| {
        json!({"context": format!("w{} w{} w{}", n, n + 1, n + 2), "qas": [
            {"id": n, "question": format!("w{n}"), "answers": [], "is_impossible": n % 2 == 0}]})
    };
    let paragraphs: Vec<Value> = (4..14).map(paragraph).collect();
    place.write(
        "train.json",
        &json!({"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]}).to_string(),
    );
    let said = import(&place, &["squad", "@train.json", "--out", "@rows.jsonl.zst"]).succeed();
    assert!(said.contains("rows.jsonl.zst: 5 rows") && said.contains("left out: 5 questions"), "{said}");
    let tokenizer = place.word_tokenizer("tokenizer.json", VOCABULARY);
    let prepare = Tercet::new("prepare").arg("--tokenizer").arg(tokenizer).arg("--out").arg(place.path("store"));
    prepare.arg(format!("squad={}", place.path("rows.jsonl.zst").display())).succeed();
    let manifest: Value = serde_json::from_slice(&fs::read(place.path("store/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["datasets"][0]["num_rows"], 5, "{manifest}");
}

#[test]
fn an_mldr_becomes_a_folder_that_is_evaluated() {
    let scene = Scene::new(1, 0);
    scene.train("start", 1).set("steps=0").succeed();
    let (place, model) = (&scene.place, scene.checkpoint("start", 0).join("model"));
    let docs: String =
        (4..12).map(|n| format!("{}\n", json!({"docid": format!("doc-de-{n}"), "text": format!("w{n}")}))).collect();
    let query = |n: usize| {
        let about = json!([{"docid": format!("doc-de-{n}"), "text": format!("w{n}")}]);
        json!({"query_id": format!("q-de-{n}"), "query": format!("w{n}"), "positive_passages": about, "negative_passages": []})
    };
    let queries: String = (4..8).map(|n| format!("{}\n", query(n))).collect();
    place.write("MLDR/mldr-v1.0-de/corpus.jsonl", &docs);
    place.write("MLDR/mldr-v1.0-de/test.jsonl", &queries);
    import(place, &["mldr", "@MLDR", "--out", "@eval"]).succeed();
    let eval = Tercet::new("eval").arg("--model").arg(model).arg("--data").arg(place.path("eval/de"));
    eval.arg("--out").arg(place.path("results")).succeed();
    // A query has the words of its document, and of no other.
    let metrics = fs::read_to_string(place.path("results/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["de"]["dense"]["ndcg@10"], 1.0, "{metrics}");
    let per_query = fs::read_to_string(place.path("results/per_query.jsonl")).unwrap();
    let of_dense = per_query.lines().filter(|line| line.contains("\"dense\""));
    assert_eq!(of_dense.count(), 4, "{per_query}");
}

#[test]
fn what_is_wrong_is_said_by_the_program_with_its_exit_code() {
    let place = Place::new();
    place.write("train.jsonl", "{\"query\": \"a\", \"pos\": [\"b\"]}\n");
    let ended = import(&place, &["tevatron", "@train.jsonl", "--out", "@rows.jsonl"]).run();
    assert_eq!(ended.code, Some(4), "{}", ended.stderr());
    assert!(ended.stderr().contains("train.jsonl:1: "), "{}", ended.stderr());
    let ended = import(&place, &["nonsense", "--out", "@rows.jsonl"]).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr());
    let help = import(&place, &["--help"]).succeed();
    assert!(help.contains("Usage: tercet import") && help.contains("narrativeqa"), "{help}");
}
