//! What texts, rows and judgments mean to the commands: which are the same, what stands before them, which count.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tercet_configs::ExitCode;

use crate::commands::fixture::{Fixture, lines, read_lines};
use crate::commands::job;

fn dense(path: &Path) -> Vec<Vec<f64>> {
    let vector = |line: Value| line["dense"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    read_lines(path).into_iter().map(vector).collect()
}

#[test]
fn what_answers_a_query_in_any_row_is_no_negative_of_it() {
    let fixture = Fixture::new();
    let rows = [
        json!({"query": "w5 w6", "pos": ["w10 w11"]}),
        json!({"query": " w5  w6 ", "pos": ["w12  w13"], "neg": ["w5 w6"]}),
        json!({"query": "w6", "prompt": "w5 ", "pos": ["w14"], "neg": [" w14", "w10  w11"]}),
        json!({"query": "w7", "pos": ["w20"], "neg": ["w30", "w31"]}),
    ];
    let input = fixture.write("rows.jsonl", lines(rows.into_iter()));
    for ranks in [1, 2] {
        let (model, out) = (fixture.path("model"), fixture.path(&format!("mined-{ranks}.jsonl")));
        let paths = format!("--model {} --rows {} --out {}", model.display(), input.display(), out.display());
        job::run(ranks, &format!("mine {paths} --negatives 100 --range 0-100")).unwrap();
        let mined: Vec<Vec<String>> = read_lines(&out)
            .into_iter()
            .map(|row| {
                let mut texts: Vec<String> = serde_json::from_value(row["neg"].clone()).unwrap();
                texts.sort();
                texts
            })
            .collect();
        // The three rows of one query know each other's answers, and none has itself, or a copy, as a negative.
        let others = ["w20", "w30", "w31"];
        assert_eq!(mined, [&others[..], &others, &others, &["w10 w11", "w12  w13", "w14", "w30", "w31", "w5 w6"]]);
    }
}

#[test]
fn prefixes_and_prompts_stand_before_texts() {
    let fixture = Fixture::new();
    let model = fixture.path("model");
    let texts = ["w1 w2", "w3"];
    let with = |prefix: &str| texts.map(|text| format!("{prefix}{text}")).join("\n");
    let encode = |text: String, options: &str, out: &str| {
        let (input, out) = (fixture.write(&format!("{out}.txt"), text), fixture.path(&format!("{out}.jsonl")));
        let paths = format!("--model {} --input {} --out {}", model.display(), input.display(), out.display());
        job::run(1, &format!("encode {paths} --heads dense {options}")).unwrap();
        dense(&out)
    };
    let plain = encode(with(""), "", "plain");
    let queries = encode(with("w5 "), "", "queries");
    assert_ne!(plain, queries);
    assert_eq!(encode(with(""), "--prefix w5", "prefixed"), queries);

    let prompts = json!({"prompts": {"query": "w5 ", "document": "w6 "}, "default_prompt_name": null});
    fixture.write("model/config_sentence_transformers.json", prompts.to_string());
    assert_eq!(encode(with(""), "--as query", "as-query"), queries);
    assert_eq!(encode(with(""), "--as passage", "as-passage"), encode(with("w6 "), "", "passages"));
    assert_eq!(encode(with(""), "", "as-nothing"), plain);
    assert_eq!(encode(with(""), "--as query --prefix=", "without"), plain);

    let folder = |name: &str, query: &str, passage: &str| {
        let doc = |i: usize| json!({"_id": format!("d{i}"), "text": format!("{passage}w{} w{}", 10 + i, 40 + i)});
        let query = |i: usize| json!({"_id": format!("q{i}"), "text": format!("{query}w{}", 10 + i)});
        fixture.write(&format!("{name}/corpus.jsonl"), lines((0..9).map(doc)));
        fixture.write(&format!("{name}/queries.jsonl"), lines((0..9).map(query)));
        let judged: String = (0..9).map(|i| format!("q{i}\td{i}\t1\n")).collect();
        fixture.write(&format!("{name}/qrels/test.tsv"), judged);
        fixture.path(name)
    };
    let runs = |data: &Path, options: &str, out: &str| {
        let out = fixture.path(out);
        let paths = format!("--model {} --data {} --out {}", model.display(), data.display(), out.display());
        job::run(1, &format!("eval {paths} {options}")).unwrap();
        fs::read_to_string(out.join(data.file_name().unwrap()).join("dense.trec")).unwrap()
    };
    let (apart, joint) = (folder("apart", "", ""), folder("joint", "w5 ", "w6 "));
    let expected = runs(&joint, "--query-prefix= --passage-prefix=", "joint-runs");
    assert_eq!(runs(&apart, "", "prompted"), expected);
    assert_ne!(runs(&apart, "--query-prefix= --passage-prefix=", "bare"), expected);
}

#[test]
fn the_querys_own_document_is_left_out_unless_it_is_kept() {
    let fixture = Fixture::new();
    let docs = [json!({"_id": "d1", "text": "w10 w11 w12"}), json!({"_id": "d2", "text": "w10 w11 w13"})];
    fixture.write("data/corpus.jsonl", lines(docs.into_iter()));
    fixture.write("data/queries.jsonl", lines([json!({"_id": "d1", "text": "w10 w11 w12"})].into_iter()));
    fixture.write("data/qrels/dev.tsv", "query-id\tcorpus-id\tscore\nd1\td2\t1\n");
    let (model, data) = (fixture.path("model"), fixture.path("data"));
    let eval = |ranks: usize, options: &str| {
        let json = fixture.path(&format!("{ranks}{}.json", options.len()));
        let paths = format!("--model {} --data {} --json {}", model.display(), data.display(), json.display());
        job::run(ranks, &format!("eval {paths} {options}")).map(|()| {
            let figures: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
            figures["data"]["dense"]["ndcg@10"].as_f64().unwrap()
        })
    };
    let (code, message) = eval(1, "").unwrap_err();
    assert_eq!(code, ExitCode::Usage.code());
    assert!(message.contains("has dev: choose one with --split dev"), "{message}");
    for ranks in [1, 2] {
        assert_eq!(eval(ranks, "--split dev").unwrap(), 1.0);
        assert_eq!(eval(ranks, "--split dev --keep-identical-ids").unwrap(), 1.0 / 3f64.log2());
    }
}

#[test]
fn what_cannot_be_written_is_told_before_the_work() {
    let fixture = Fixture::new();
    fixture.write("data/corpus.jsonl", lines([json!({"_id": "d 1", "text": "w1"})].into_iter()));
    fixture.write("data/queries.jsonl", lines([json!({"_id": "q1", "text": "w1"})].into_iter()));
    fixture.write("data/qrels/test.tsv", "q1\td 1\t1\n");
    let rows = fixture.write("rows.jsonl", "{\"query\": \"w1\", \"pos\": [\"w2\"]}\n");
    let file = fixture.write("file", "");
    let refused = |arguments: String| {
        let (code, message) = job::run(1, &arguments).unwrap_err();
        assert_eq!(code, ExitCode::Usage.code(), "{message}");
        message
    };
    let (model, data) = (fixture.path("model"), fixture.path("data"));
    let eval = format!("eval --model {} --data {}", model.display(), data.display());
    let (code, message) = job::run(1, &format!("{eval} --out {}", fixture.path("runs").display())).unwrap_err();
    assert_eq!(code, ExitCode::Data.code(), "as `index` and `search` have it");
    assert!(message.contains("\"d 1\" has a blank"), "{message}");
    job::run(1, &format!("{eval} --json {}", fixture.path("figures.json").display())).unwrap();
    let mine = format!("mine --model {} --rows {}", model.display(), rows.display());
    let message = refused(format!("{mine} --out {}", fixture.path("mined.parquet").display()));
    assert!(message.contains("JSON Lines"), "{message}");
    let (_, message) = job::run(1, &format!("{mine} --out {}/mined.jsonl", file.display())).unwrap_err();
    assert!(message.contains("file/mined.jsonl: "), "{message}");
    fixture.write("old/metrics.json", "{}");
    let message = refused(format!("{eval} --out {}", fixture.path("old").display()));
    assert!(message.contains("metrics.json is there already"), "{message}");
}
