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
            {"id": n, "question": format!("w{n}"), "answers": [], "is_impossible": n < 9}]})
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
fn benchmarks_become_folders_that_are_evaluated() {
    let scene = Scene::new(1, 0);
    scene.train("start", 1).set("steps=0").succeed();
    let (place, model) = (&scene.place, scene.checkpoint("start", 0).join("model"));
    let lines = |objects: Vec<Value>| -> String { objects.iter().map(|object| format!("{object}\n")).collect() };
    let eval = |folders: &[&str], metric: &str| -> Value {
        let command = Tercet::new("eval").arg("--model").arg(&model).arg("--data");
        let command = folders.iter().fold(command, |command, folder| command.arg(place.path(folder)));
        let said = command.arg("--json").arg("-").arg("--rankings").arg("bm25").arg("--metrics").arg(metric).succeed();
        serde_json::from_str(&said).unwrap()
    };

    let docs = (4..12).map(|n| json!({"docid": format!("doc-de-{n}"), "text": format!("w{n}")})).collect();
    place.write("MLDR/mldr-v1.0-de/corpus.jsonl", &lines(docs));
    // A query has the word of its document, and of no other; but the last one has another's.
    let query = |n: usize| {
        let about = json!([{"docid": format!("doc-de-{n}"), "text": format!("w{n}")}]);
        let asked = format!("w{}", if n == 7 { 8 } else { n });
        json!({"query_id": format!("q-de-{n}"), "query": asked, "positive_passages": about, "negative_passages": []})
    };
    place.write("MLDR/mldr-v1.0-de/test.jsonl", &lines((4..8).map(query).collect()));
    import(place, &["mldr", "@MLDR", "--out", "@mldr"]).succeed();
    assert_eq!(eval(&["mldr/de"], "recall@1")["de"]["bm25"]["recall@1"], 0.75);

    let question = |n: usize| {
        json!({"example_id": n, "queries": {"en": format!("w{n}"), "fi": format!("w{}", n + 1)},
               "answers": {"en": [{"type": "entity", "text": format!("W{n}"), "aliases": []}]}})
    };
    place.write("mkqa.jsonl", &lines((4..6).map(question).collect()));
    let passages = (4..12).map(|n| json!({"_id": format!("doc{n}"), "title": "", "text": format!("W{n}")})).collect();
    place.write("nq.jsonl", &lines(passages));
    import(place, &["mkqa", "@mkqa.jsonl", "--corpus", "@nq.jsonl", "--out", "@mkqa"]).succeed();
    let figures = eval(&["mkqa/en", "mkqa/fi"], "answer_recall@1");
    assert_eq!(figures["en"]["bm25"]["answer_recall@1"], 1.0, "{figures}");
    assert_eq!(figures["fi"]["bm25"]["answer_recall@1"], 0.0, "{figures}");
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
