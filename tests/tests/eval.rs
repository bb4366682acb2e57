//! `tercet eval`: figures that follow from its lists, indices that are used again, suites, answers, and what is
//! refused.
//!
//! What BEIR folders may look like is tested in `worker/tests/commands`, every metric in `tests/peers`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;
use tercet_tests::random::Random;
use tercet_tests::scene::{Scene, VOCABULARY};

const NUM_DOCS: usize = 600;
const NUM_QUERIES: usize = 70;

/// A model, and data sets of words that are a token each.
struct Library {
    scene: Scene,
    model: PathBuf,
}

fn lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().map(|value| format!("{value}\n")).collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What two folders hold, without the indices.
fn same_but_for_indices(found: &Path, expected: &Path) {
    let names = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<PathBuf> = entries.filter(|path| !path.ends_with("index")).collect();
        names.sort();
        names
    };
    let (found, expected) = (names(found), names(expected));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.file_name(), expected.file_name());
        match expected.is_dir() {
            true => same_but_for_indices(found, expected),
            false => assert!(fs::read(found).unwrap() == fs::read(expected).unwrap(), "{} differs", found.display()),
        }
    }
}

impl Library {
    fn new() -> Self {
        let scene = Scene::new(1, 0);
        scene.train("start", 1).set("steps=0").succeed();
        let model = scene.checkpoint("start", 0).join("model");
        Self { scene, model }
    }

    fn place(&self) -> &Place {
        &self.scene.place
    }

    /// Three blocks of documents, the same for every `name`; queries are the words of some, and `seed` draws them.
    fn write(&self, name: &str, seed: u64) {
        let mut random = Random::new(11);
        let mut text = || (0..1 + random.within(0..30)).map(|_| random.within(4..VOCABULARY)).collect::<Vec<_>>();
        let docs: Vec<Vec<usize>> = (0..NUM_DOCS).map(|_| text()).collect();
        let written = |words: &[usize]| words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        let mut random = Random::new(seed);
        let asked: Vec<usize> = (0..NUM_QUERIES).map(|_| random.within(0..NUM_DOCS)).collect();
        let corpus = docs.iter().enumerate().map(|(i, words)| json!({"_id": format!("d{i}"), "text": written(words)}));
        let query = |(i, doc): (usize, &usize)| json!({"_id": format!("q{i}"), "text": written(&docs[*doc][..3.min(docs[*doc].len())])});
        let judged = asked.iter().enumerate().map(|(i, doc)| {
            format!("q{i}\td{doc}\t2\nq{i}\td{}\t1\nq{i}\td{}\t0\n", (doc + 1) % NUM_DOCS, (doc + 2) % NUM_DOCS)
        });
        self.place().write(&format!("{name}/corpus.jsonl"), &lines(corpus));
        self.place().write(&format!("{name}/queries.jsonl"), &lines(asked.iter().enumerate().map(query)));
        self.place().write(&format!("{name}/qrels/test.tsv"), &judged.collect::<String>());
    }

    fn eval(&self, data: &[&str], options: &str, ranks: usize) -> Tercet {
        let command = Tercet::new("eval").arg("--model").arg(&self.model).arg("--data");
        let command = data.iter().fold(command, |command, name| command.arg(self.place().path(name)));
        let command = options.split_whitespace().fold(command, |command, word| {
            // A path is one in this place.
            match word.strip_prefix('@') {
                Some(name) => command.arg(self.place().path(name)),
                None => command.arg(word),
            }
        });
        command.ranks(ranks)
    }

    fn figures(&self, name: &str) -> Value {
        read(&self.place().path(name))
    }

    fn indices(&self, name: &str) -> usize {
        fs::read_dir(self.place().path(name)).unwrap().count()
    }
}

const ALL: &str = "--rankings dense,lexical,bm25,dense_lexical,multi_vector,all";

#[test]
fn ranks_batches_and_an_index_that_is_there_change_nothing() {
    let library = Library::new();
    library.write("one", 1);
    library.write("two", 2);
    let metrics = "--metrics ndcg@5,recall@20,map@1000,mrr@10,precision@3";
    let eval = |out: &str, rest: &str, ranks: usize| {
        library.eval(&["one", "two"], &format!("--out @{out} {ALL} {metrics} {rest}"), ranks)
    };
    let table = eval("out-1", "", 1).succeed();
    assert!(table.contains("one: 600 documents, 70 queries") && table.contains("two: 600 documents"), "{table}");
    assert!(table.contains("nDCG@5") && table.contains("MAP@1000") && table.contains("P@3"), "{table}");
    assert!(table.lines().filter(|line| line.starts_with("  bm25 ")).count() == 2, "{table}");
    assert_eq!(library.indices("out-1/index"), 1, "both have one corpus");
    for (ranks, rest) in [(2, ""), (3, "--memory 1"), (1, "--index @out-1/index")] {
        let out = format!("out-{ranks}{}", rest.len());
        eval(&out, rest, ranks).succeed();
        same_but_for_indices(&library.place().path(&out), &library.place().path("out-1"));
    }
    let said = eval("other", "--index @out-1/index --dense-lexical-weights 0,1", 2).run();
    assert!(said.code == Some(0) && said.stderr().contains("3 of 3 blocks are there already"), "{}", said.stderr());
    assert_eq!(library.indices("out-1/index"), 1);
    let (before, after) = (library.figures("out-1/metrics.json"), library.figures("other/metrics.json"));
    for (name, figures) in before["one"].as_object().unwrap() {
        assert_eq!(after["one"][name] == *figures, name != "dense_lexical", "{name}");
    }
    // Without the dense scores only documents of the dense list alone follow.
    assert_eq!(after["one"]["dense_lexical"]["ndcg@5"], before["one"]["lexical"]["ndcg@5"]);

    // The figures are the means of those of the queries.
    let text = fs::read_to_string(library.place().path("out-1/per_query.jsonl")).unwrap();
    let mut sums = BTreeMap::<(String, String, String), (f64, usize)>::new();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let word = |key: &str| line[key].as_str().unwrap().to_owned();
        assert!(word("query").starts_with('q'));
        for (metric, figure) in line.as_object().unwrap().iter().filter(|(key, _)| key.contains('@')) {
            let sum = sums.entry((word("data"), word("ranking"), metric.clone())).or_default();
            *sum = (sum.0 + figure.as_f64().unwrap(), sum.1 + 1);
        }
    }
    assert_eq!(sums.len(), 2 * 6 * 5);
    for ((data, ranking, metric), (sum, count)) in sums {
        let mean = before[&data][&ranking][&metric].as_f64().unwrap();
        assert!(count == NUM_QUERIES && (mean - sum / 70.0).abs() < 1e-12, "{data} {ranking} {metric}");
    }
}

#[test]
fn another_corpus_or_model_has_an_index_of_its_own_and_a_temporary_one_is_removed() {
    let library = Library::new();
    library.write("one", 1);
    let place = library.place();
    let figures = |options: &str| {
        let said = library.eval(&["one"], &format!("--json - {options}"), 2).succeed();
        serde_json::from_str::<Value>(&said).unwrap()
    };
    let before = figures("--index @index");
    let corpus = fs::read_to_string(place.path("one/corpus.jsonl")).unwrap();
    // The document of the first query is gone.
    let query = fs::read_to_string(place.path("one/qrels/test.tsv")).unwrap();
    let doc = query.split('\t').nth(1).unwrap();
    let rest: Vec<&str> = corpus.lines().filter(|line| !line.contains(&format!("\"{doc}\""))).collect();
    place.write("one/corpus.jsonl", &(rest.join("\n") + "\n"));
    let after = figures("--index @index");
    assert_ne!(before, after);
    assert_eq!(library.indices("index"), 2);
    assert_eq!(figures("--index @index"), after);
    figures("--index @index --passage-max-len 16");
    assert_eq!(library.indices("index"), 3);

    fs::create_dir(place.path("tmp")).unwrap();
    let said = library.eval(&["one"], "--json @figures.json", 2).env("TMPDIR", place.path("tmp"));
    // MPI has its own files there.
    let is_left = || {
        let entries = fs::read_dir(place.path("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
        entries.filter(|name| name.to_string_lossy().starts_with("tercet-eval")).count() > 0
    };
    said.succeed();
    assert_eq!((library.figures("figures.json"), is_left()), (after, false));
    let damaged = library.eval(&["one"], "--json - --query-prefix w --query-max-len 3", 2);
    damaged.env("TMPDIR", place.path("tmp")).run().fails_with(2, &["leaves none for the text"]);
    assert!(!is_left());
}

#[test]
fn a_suite_says_what_is_not_typed() {
    let library = Library::new();
    library.write("one", 1);
    let place = library.place();
    let suite = "split = \"test\"\nrankings = [\"lexical\", \"bm25\"]\nmetrics = [\"map@10\"]\ntop = 20\n\
                 bm25_lengths = \"lucene\"\nlexical = \"published\"\nall_weights = [0, 1, 0.5]\n";
    place.write("suite.toml", suite);
    let eval = |options: &str| library.eval(&["one"], &format!("--suite @suite.toml --index @index {options}"), 1);
    let figures =
        |options: &str| serde_json::from_str::<Value>(&eval(&format!("--json - {options}")).succeed()).unwrap();
    let own = figures("");
    let names = |figures: &Value| figures["one"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        (names(&own), own["one"]["bm25"].as_object().unwrap().len()),
        (vec!["bm25".into(), "lexical".into()], 1)
    );
    let typed = figures("--rankings bm25,dense --metrics mrr@10 --bm25-b 0");
    assert_eq!(names(&typed), ["bm25", "dense"]);
    assert!(typed["one"]["bm25"]["mrr@10"].is_f64());
    eval("--metrics map@21").run().fails_with(2, &["--metrics map@21: lists have 20 documents at most"]);
    eval("--split dev").run().fails_with(2, &["choose one with --split test"]);
    for (line, reasons) in [
        ("passage_max_length = 512", &["suite.toml: TOML parse error at line 8", "did you mean `passage_max_len`?"]),
        ("rerank = 0", &["suite.toml: rerank: \"0\" is no number above 0", "rerank"]),
        ("dense_lexical_weights = [1]", &["line 8", "expected 2 numbers"]),
        ("bm25_b = 1.5", &["bm25_b: \"1.5\" is no number from 0 to 1", "suite.toml"]),
    ] {
        place.write("suite.toml", &format!("{suite}{line}\n"));
        eval("").run().fails_with(2, reasons);
    }
    place.write("suite.toml", "rankings = [\"dens\"]");
    eval("").run().fails_with(2, &["did you mean `dense`?"]);
    place.write("suite.toml", "metrics = [\"dcg@10\"]");
    eval("").run().fails_with(2, &["there is no figure \"dcg\"; there are ndcg, recall, mrr"]);
}

#[test]
fn answers_are_looked_for_in_the_texts_of_the_first_documents() {
    let library = Library::new();
    let place = library.place();
    let docs = ["w10 w11 w12", "w20 w21", "w30", "w40 w41"];
    place.write(
        "qa/corpus.jsonl",
        &lines((0..4).map(|i| json!({"_id": format!("d{i}"), "title": "", "text": docs[i]}))),
    );
    let queries = ["w10", "w20", "w30", "w40"];
    place.write("qa/queries.jsonl", &lines((0..4).map(|i| json!({"_id": format!("q{i}"), "text": queries[i]}))));
    // No document has the third's answer as a whole token; the fourth has none.
    let answers = [json!(["nothing", "W11  w12"]), json!(["w20"]), json!(["w3"]), json!([])];
    place.write("qa/answers.jsonl", &lines((0..4).map(|i| json!({"_id": format!("q{i}"), "answers": answers[i]}))));
    let figures = |options: &str| {
        let said = library.eval(&["qa"], &format!("--json - --rankings bm25 {options}"), 2).succeed();
        serde_json::from_str::<Value>(&said).unwrap()["qa"]["bm25"].clone()
    };
    // The queries are those with answers.
    assert_eq!(figures("--metrics answer_recall@1,answer_recall@4")["answer_recall@1"], 2.0 / 3.0);
    place.write("qa/qrels/test.tsv", "q0\td0\t1\nq3\td0\t1\n");
    let both = figures("--metrics answer_recall@4,recall@1");
    assert_eq!((&both["answer_recall@4"], &both["recall@1"]), (&json!(0.5), &json!(0.5)));

    place.write("qa/answers.jsonl", &lines([json!({"_id": "q0", "answers": "w10"})]));
    let eval = || library.eval(&["qa"], "--json - --metrics answer_recall@1", 2).run();
    eval().fails_with(4, &["answers.jsonl:1: \"answers\" is no list of strings"]);
    fs::remove_file(place.path("qa/answers.jsonl")).unwrap();
    fs::remove_dir_all(place.path("qa/qrels")).unwrap();
    eval().fails_with(4, &["queries.jsonl: no query of it has answers"]);
    let asked = library.eval(&["qa"], "--json -", 1).run();
    asked.fails_with(2, &["qrels/test.tsv: no such file"]);
}

#[test]
fn what_is_particular_about_a_folder_is_said_and_counts_as_nothing_found() {
    let library = Library::new();
    let place = library.place();
    let docs = [("d1", "w10 w11"), ("d2", " "), ("d3", "w12"), ("q3", "w13")];
    place.write("odd/corpus.jsonl", &lines(docs.map(|(id, text)| json!({"_id": id, "text": text}))));
    let queries = [("q1", "w10 w11"), ("q2", "w12"), ("q3", "w13"), ("q4", "w14"), ("q5", "")];
    place.write("odd/queries.jsonl", &lines(queries.map(|(id, text)| json!({"_id": id, "text": text}))));
    place.write("odd/qrels/test.tsv", "q1 0 d1 1\nq2 0 d3 0\nq3 0 gone 1\nq4 0 d1 1\nq5 0 d1 1\nq9 0 d1 1\n");
    let ended = library.eval(&["odd"], "--out @out --rankings bm25,dense --metrics recall@100", 2).run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr());
    for said in [
        "1 of 6 judged queries are not in queries.jsonl (\"q9\")",
        "1 of 3 judged documents are not in corpus.jsonl (\"gone\")",
        "1 queries have no document judged above 0",
        "1 queries are blank or without a token",
        "1 passages are blank or without a token",
        "1 of 5 queries have the id of a document",
        " tokens, for which the model has positions, not at 8192",
    ] {
        assert!(ended.stderr().contains(said), "{said}: {}", ended.stderr());
    }
    let figures = library.figures("out/metrics.json");
    // Three of five queries (q1, q4 and q5) find what is judged by its dense vector, and q1 by a token.
    assert_eq!(
        (&figures["odd"]["dense"]["recall@100"], &figures["odd"]["bm25"]["recall@100"]),
        (&json!(0.6), &json!(0.2))
    );
    // A query that finds nothing has a line, of a document that is not relevant.
    let run = fs::read_to_string(place.path("out/odd/bm25.trec")).unwrap();
    let first: Vec<&str> = run.lines().filter(|line| line.starts_with("q4 ")).collect();
    assert_eq!(first, ["q4 Q0 d2 1 0 bm25"]);
    let again = library.eval(&["odd"], "--out @out", 2).run();
    again.fails_with(2, &["metrics.json is there already"]);

    let corpus = fs::read_to_string(place.path("odd/corpus.jsonl")).unwrap();
    place.write("odd/corpus.jsonl", &(corpus + "{\"_id\": \"d1\", \"text\": \"w5\"}\n"));
    let twice = library.eval(&["odd"], "--json -", 2).run();
    twice.fails_with(4, &["corpus.jsonl:5: a second passage with the _id \"d1\""]);
}
