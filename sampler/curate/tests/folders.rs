//! Benchmarks that become evaluation folders.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::Place;

/// MIRACL as it is on Hugging Face, in two languages.
fn miracl(place: &Place) {
    for lang in ["sw", "yo"] {
        let (judged, corpus) = (format!("miracl/miracl-v1.0-{lang}"), format!("corpus/miracl-corpus-v1.0-{lang}"));
        place.write(&format!("{judged}/topics/topics.miracl-v1.0-{lang}-dev.tsv"), "0\tJe, ni lini?\n3\tNani?\n");
        place.write(
            &format!("{judged}/qrels/qrels.miracl-v1.0-{lang}-dev.tsv"),
            "0\tQ0\t39#0\t1\n0\tQ0\t39#1\t0\n3\tQ0\t40#0\t1\n",
        );
        place.write(
            &format!("{corpus}/docs-0.jsonl.gz"),
            gz("{\"docid\": \"39#0\", \"title\": \"Albedo\", \"text\": \"Albedo is …\"}\n{\"docid\": \"39#1\", \"title\": \"Albedo\", \"text\": \"More\"}\n"),
        );
        place.write(
            &format!("{corpus}/docs-1.jsonl.gz"),
            gz("{\"docid\": \"40#0\", \"title\": \"\", \"text\": \"Maji\"}\n"),
        );
    }
}

fn gz(text: &str) -> Vec<u8> {
    let mut writer = tercet_sampler::PackedWriter::new(std::path::Path::new("a.gz"), Vec::new()).unwrap();
    std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    writer.finish().unwrap()
}

#[test]
fn miracl_becomes_a_folder_a_language() {
    let place = Place::new();
    miracl(&place);
    let said = place.succeed(&["miracl", "miracl", "corpus", "--out", "eval"]);
    assert_eq!(said.lines().next().unwrap(), "eval/sw: 3 passages, 2 queries, 3 judgments (dev)");
    let corpus = place.objects("eval/yo/corpus.jsonl.zst");
    assert_eq!(corpus[0], json!({"_id": "39#0", "title": "Albedo", "text": "Albedo is …"}));
    assert_eq!(corpus[2], json!({"_id": "40#0", "text": "Maji"}));
    assert_eq!(place.objects("eval/yo/queries.jsonl")[1], json!({"_id": "3", "text": "Nani?"}));
    let qrels = place.lines("eval/yo/qrels/dev.tsv");
    assert_eq!(qrels, ["query-id\tcorpus-id\tscore", "0\t39#0\t1", "0\t39#1\t0", "3\t40#0\t1"]);
    // One language by itself, from the folders themselves.
    let dirs = ["miracl/miracl-v1.0-sw", "corpus/miracl-corpus-v1.0-sw"];
    place.succeed(&["miracl", dirs[0], dirs[1], "--lang", "sw", "--out", "one"]);
    assert_eq!(place.lines("one/sw/qrels/dev.tsv"), qrels);
}

#[test]
fn a_wrong_miracl_is_refused() {
    let place = Place::new();
    miracl(&place);
    let refuse = |code: i32, expected: &[&str]| {
        place.refuse(&["miracl", "miracl", "corpus", "--lang", "sw", "--out", "o"], code, expected);
    };
    let qrels = "miracl/miracl-v1.0-sw/qrels/qrels.miracl-v1.0-sw-dev.tsv";
    place.write(qrels, "0\tQ0\t39#0\t1\n7\tQ0\t39#0\t1\n");
    refuse(4, &["sw-dev.tsv:2: judges the query \"7\", which ", "topics.miracl-v1.0-sw-dev.tsv does not have"]);
    place.write(qrels, "0\t39#0\t1\n");
    refuse(4, &["sw-dev.tsv:1: expected TREC's 4 columns", "found 3"]);
    place.write(qrels, "0\tQ0\t39#0\t1\n0\tQ0\t77#0\t1\n");
    refuse(4, &["1 of 2 judged passages are in no file docs-N.jsonl.gz (\"77#0\")"]);
    place.write("corpus/miracl-corpus-v1.0-sw/docs-0.jsonl.gz", gz("{\"docid\": \"39#0\", \"title\": \"A\"}\n"));
    refuse(4, &["docs-0.jsonl.gz:1: ", "missing field `text`"]);
    fs::remove_file(place.path("corpus/miracl-corpus-v1.0-sw/docs-0.jsonl.gz")).unwrap();
    refuse(2, &["docs-0.jsonl.gz: no such file: published figures are of the whole corpus"]);
    place.refuse(&["miracl", "corpus", "--out", "o"], 2, &["corpus: no folder miracl-v1.0-LANG there"]);
    place.refuse(&["miracl", "miracl", "--lang", "sw", "--out", "o"], 2, &["miracl-corpus-v1.0-sw: no such folder"]);
    place.refuse(&["miracl", "miracl", "corpus", "--lang", "yo", "--split", "test", "--out", "o"], 2, &["yo-test.tsv"]);
}

#[test]
fn mldr_is_judged_by_what_its_queries_are_about() {
    let place = Place::new();
    let corpus =
        "{\"docid\": \"doc-de-0\", \"text\": \"langer Text\"}\n{\"docid\": \"doc-de-1\", \"text\": \"Ablenkung\"}\n";
    place.write("MLDR/mldr-v1.0-de/corpus.jsonl.gz", gz(corpus));
    let query = json!({"query_id": "q-de-5", "query": "Was?", "positive_passages": [{"docid": "doc-de-0", "text": "langer Text"}], "negative_passages": []});
    place.write("MLDR/mldr-v1.0-de/test.jsonl.gz", gz(&format!("{query}\n")));
    let said = place.succeed(&["mldr", "MLDR", "--out", "eval"]);
    assert_eq!(said, "eval/de: 2 documents, 1 queries (test)\n");
    assert_eq!(place.lines("eval/de/qrels/test.tsv")[1..], ["q-de-5\tdoc-de-0\t1"]);
    assert_eq!(place.objects("eval/de/queries.jsonl"), [json!({"_id": "q-de-5", "text": "Was?"})]);
    assert_eq!(place.objects("eval/de/corpus.jsonl.zst")[1], json!({"_id": "doc-de-1", "text": "Ablenkung"}));

    place.write(
        "MLDR/mldr-v1.0-de/test.jsonl.gz",
        gz(&format!("{query}\n{}\n", query.to_string().replace("doc-de-0", "doc-de-9").replace("q-de-5", "q-de-6"))),
    );
    place.refuse(
        &["mldr", "MLDR", "--out", "o"],
        4,
        &["corpus.jsonl.gz: lacks 1 of the documents that queries are about (\"doc-de-9\")"],
    );
    place.write("MLDR/mldr-v1.0-de/test.jsonl.gz", gz(&format!("{query}\n{query}\n")));
    place.refuse(&["mldr", "MLDR", "--out", "o"], 4, &["test.jsonl.gz:2: a second query with the same query_id"]);
    place.refuse(&["mldr", "MLDR", "--lang", "fr", "--out", "o"], 2, &["mldr-v1.0-fr: no such folder"]);
}

fn example(id: i64, answers: Value) -> Value {
    json!({"query": "q", "example_id": id, "queries": {"en": format!("english {id}"), "zh_cn": format!("中文 {id}")},
           "answers": {"en": answers, "zh_cn": [{"type": "entity", "text": "别"}]}})
}

#[test]
fn mkqa_shares_one_corpus_and_is_judged_by_english_answers() {
    let place = Place::new();
    let examples = [
        example(
            563260143484355911,
            json!([{"type": "entity", "entity": "Q545186", "text": "Dave Edmunds", "aliases": []}]),
        ),
        example(-1, json!([{"type": "unanswerable", "text": null}])),
        example(
            2,
            json!([{"type": "date", "text": "2017", "aliases": ["'17"]}, {"type": "long_answer", "text": null}]),
        ),
        example(
            -3,
            json!([{"type": "binary", "text": "yes"}, {"type": "number", "text": "7.0", "aliases": ["seven", "7"]}]),
        ),
    ];
    let lines: String = examples.iter().map(|example| format!("{example}\n")).collect();
    place.write("mkqa.jsonl.gz", gz(&lines));
    place.write(
        "nq/corpus.jsonl",
        "{\"_id\": \"doc0\", \"title\": \"Minority Interest\", \"text\": \"In BUSINESS – “minority…\"}\n",
    );
    let words = ["mkqa", "mkqa.jsonl.gz", "--corpus", "nq/corpus.jsonl", "--out", "eval"];
    let said = place.succeed(&words);
    let expected =
        "2 of 4 questions are evaluated\neval/en: 2 queries, 1 passages\neval/zh_cn: 2 queries, the same passages\n";
    assert_eq!(said, expected);
    let queries = place.objects("eval/zh_cn/queries.jsonl");
    assert_eq!(queries[0], json!({"_id": "563260143484355911", "text": "中文 563260143484355911"}));
    assert_eq!(
        place.objects("eval/zh_cn/answers.jsonl"),
        [
            json!({"_id": "563260143484355911", "answers": ["Dave Edmunds"]}),
            json!({"_id": "-3", "answers": ["seven", "7", "7.0"]}),
        ]
    );
    let corpus = place.objects("eval/zh_cn/corpus.jsonl.zst");
    assert_eq!(corpus, [json!({"_id": "doc0", "text": "minority interest\nin business - \"minority..."})]);
    let inode = |lang: &str| fs::metadata(place.path(&format!("eval/{lang}/corpus.jsonl.zst"))).unwrap().ino();
    assert_eq!(inode("en"), inode("zh_cn"));
    assert!(!place.path("eval/en/qrels").exists());

    place.refuse(&[&words[..4], &["--lang", "xx", "--out", "o"]].concat(), 4, &["is not there in \"xx\""]);
    place.write("mkqa.jsonl.gz", gz(&format!("{lines}{{\"example_id\": 7, \"queries\": {{}}}}\n")));
    place.refuse(&[&words[..4], &["--out", "o"]].concat(), 4, &["mkqa.jsonl.gz:5: ", "missing field `answers`"]);
}

#[test]
fn mkqa_of_ten_thousand_questions_must_be_the_published_one() {
    let place = Place::new();
    let lines: String =
        (0..10_000).map(|id| format!("{}\n", example(id, json!([{"type": "entity", "text": "x"}])))).collect();
    place.write("mkqa.jsonl", lines);
    place.write("corpus.jsonl", "{\"_id\": \"d\", \"text\": \"x\"}\n");
    let expected = ["mkqa.jsonl: 10000 of its 10000 questions would be evaluated", "6619"];
    place.refuse(&["mkqa", "mkqa.jsonl", "--corpus", "corpus.jsonl", "--out", "o"], 4, &expected);
}

#[test]
fn narrativeqa_writes_a_story_once() {
    let place = Place::new();
    let row = |story: &str, question: &str| {
        json!({"document": {"id": story, "kind": "movie", "text": format!("The whole {story}"), "summary": {"text": "s", "title": "T"}},
               "question": {"text": question, "tokens": []}, "answers": [{"text": "a", "tokens": []}]})
    };
    let lines = [row("b01", "Who?"), row("b01", "Why?"), row("a02", "Where?")].map(|row| row.to_string()).join("\n");
    place.write("test.jsonl", &lines);
    let said = place.succeed(&["narrativeqa", "test.jsonl", "--out", "eval/narrativeqa"]);
    assert_eq!(said, "eval/narrativeqa: 2 stories, 3 queries (test)\n");
    let corpus = place.objects("eval/narrativeqa/corpus.jsonl.zst");
    assert_eq!(
        corpus,
        [json!({"_id": "b01", "text": "The whole b01"}), json!({"_id": "a02", "text": "The whole a02"})]
    );
    assert_eq!(place.lines("eval/narrativeqa/qrels/test.tsv")[1..], ["q0\tb01\t1", "q1\tb01\t1", "q2\ta02\t1"]);
    place.write("test.jsonl", lines.replace("The whole a02", " "));
    place.refuse(&["narrativeqa", "test.jsonl", "--out", "o"], 4, &["test.jsonl:3: \"document.text\" has no text"]);
}
