//! Commands from end to end, on one rank and on several.

#![allow(clippy::unwrap_used)]

mod columns;
mod fixture;
mod formats;
mod job;
mod meaning;
mod mining;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::Path;

use fixture::{Fixture, MAX_LEN, lines, read_lines, words};
use serde_json::{Value, json};
use tch::{Kind, Tensor};
use tercet_configs::ExitCode;
use tercet_sampler::{LineReader, LinesOf, PackedWriter};

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn assert_close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?}\n{b:?}");
}

fn assert_same_text(a: &Value, b: &Value) {
    assert_eq!(a["id"], b["id"]);
    assert_close(&numbers(&a["dense"]), &numbers(&b["dense"]));
    let tokens = |v: &Value| v["lexical"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let weights =
        |v: &Value| v["lexical"].as_object().unwrap().values().map(|w| w.as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(tokens(a), tokens(b));
    assert_close(&weights(a), &weights(b));
    let vectors = |v: &Value| v["multi_vector"].as_array().unwrap().iter().flat_map(numbers).collect::<Vec<_>>();
    assert_close(&vectors(a), &vectors(b));
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

fn ids_of(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor).unwrap()
}

#[test]
fn any_number_of_ranks_encodes_alike_and_in_order() {
    let fixture = Fixture::new();
    let (model, dir) = (fixture.path("model"), fixture.path(""));
    let texts: Vec<String> = (0..23).map(|i| words(i, 1 + (i * 37) % 150)).collect();
    let input = fixture.write("texts.txt", texts.join("\n"));
    let encode = |ranks: usize, out: &str| {
        let (model, input, out) = (model.display(), input.display(), dir.join(out));
        job::run(ranks, &format!("encode --model {model} --input {input} --out {}", out.display())).unwrap();
        out
    };
    let one = read_lines(&encode(1, "one.jsonl"));
    for ranks in [2, 3] {
        let several = read_lines(&encode(ranks, &format!("several-{ranks}.jsonl")));
        assert_eq!(several.len(), texts.len());
        one.iter().zip(&several).for_each(|(a, b)| assert_same_text(a, b));
    }
    for (i, line) in one.iter().enumerate() {
        assert_eq!(line["id"], i.to_string());
        let num_tokens = (texts[i].split(' ').count() + 2).min(MAX_LEN);
        assert_eq!(line["multi_vector"].as_array().unwrap().len(), num_tokens - 1, "all but CLS");
        let distinct: HashSet<&str> = texts[i].split(' ').take(num_tokens - 2).collect();
        let weights = line["lexical"].as_object().unwrap();
        assert!((1..=distinct.len()).contains(&weights.len()), "the text's own tokens: {} weigh", weights.len());
        assert!(weights.values().all(|weight| weight.as_f64().unwrap() > 0.0), "only what weighs: {weights:?}");
        assert!(["0", "1", "2", "3"].iter().all(|special| !weights.contains_key(*special)));
    }
}

#[test]
fn compressed_files_are_read_and_written_as_plain_ones() {
    let fixture = Fixture::new();
    let packed = |name: &str, text: &str| {
        let mut writer = PackedWriter::new(Path::new(name), Vec::new()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        fixture.write(name, writer.finish().unwrap())
    };
    let run = |arguments: String| job::run(1, &arguments).unwrap();
    let model = fixture.path("model");
    let out = |name: &str| fixture.path(name);
    let texts = format!("{}\n{}\n", words(1, 10), words(2, 25));
    for (input, name) in
        [(fixture.write("t.txt", &texts), "plain.jsonl"), (packed("t.txt.zst", &texts), "packed.jsonl.gz")]
    {
        run(format!("encode --model {} --input {} --out {}", model.display(), input.display(), out(name).display()));
    }
    let mut reader = LineReader::open(&out("packed.jsonl.gz"), LinesOf::Objects).unwrap();
    let (mut line, mut unpacked) = (Vec::new(), String::new());
    while reader.read_line(&mut line).unwrap().is_some() {
        unpacked += std::str::from_utf8(&line).unwrap();
        unpacked.push('\n');
    }
    assert_eq!(unpacked, fs::read_to_string(out("plain.jsonl")).unwrap());
    assert!(fs::read(out("packed.jsonl.gz")).unwrap().starts_with(&[0x1f, 0x8b]));

    let data = fixture.write_beir("small", 40, 5);
    let evaluate = |name: &str| {
        let (model, data, out) = (model.display(), data.display(), out(name));
        run(format!("eval --model {model} --data {data} --out {}", out.display()));
        fs::read(out.join("metrics.json")).unwrap()
    };
    let plain = evaluate("plain");
    for name in ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"] {
        let text = fs::read_to_string(data.join(name)).unwrap();
        packed(&format!("small/{name}.gz"), &text);
        fs::remove_file(data.join(name)).unwrap();
    }
    assert_eq!(evaluate("packed"), plain);
}

#[test]
fn both_formats_hold_the_same() {
    let fixture = Fixture::new();
    let rows = (0..5).map(|i| json!({"_id": format!("t{i}"), "title": words(i, i), "text": words(i + 9, 4 + i)}));
    let input = fixture.write("texts.jsonl", lines(rows));
    let run = |out: &str| {
        let (model, input, out) = (fixture.path("model"), input.display(), fixture.path(out));
        job::run(2, &format!("encode --model {} --input {input} --out {}", model.display(), out.display())).unwrap();
        out
    };
    let (lines, tensors) = (read_lines(&run("out.jsonl")), tensors(&run("out.safetensors")));
    assert_eq!(tensors["dense"].size(), [5, 32]);
    let (lexical, vectors) = (ids_of(&tensors["lexical.offsets"]), ids_of(&tensors["multi_vector.offsets"]));
    assert_eq!((lexical.len(), vectors.len()), (6, 6));
    let doubles = |tensor: Tensor| Vec::<f64>::try_from(tensor.to_kind(Kind::Double).reshape([-1])).unwrap();
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["id"], format!("t{i}"));
        let part = |name: &str, offsets: &[i64]| tensors[name].narrow(0, offsets[i], offsets[i + 1] - offsets[i]);
        assert_close(&numbers(&line["dense"]), &doubles(tensors["dense"].get(i as i64)));
        let flat: Vec<f64> = line["multi_vector"].as_array().unwrap().iter().flat_map(numbers).collect();
        assert_close(&flat, &doubles(part("multi_vector.vectors", &vectors)));
        let tokens = ids_of(&part("lexical.token_ids", &lexical));
        let expected: Vec<f64> = tokens.iter().map(|t| line["lexical"][t.to_string()].as_f64().unwrap()).collect();
        assert_eq!(line["lexical"].as_object().unwrap().len(), tokens.len());
        assert_close(&expected, &doubles(part("lexical.weights", &lexical)));
    }
}

#[test]
fn mcls_changes_the_dense_vector_of_long_texts_alone() {
    let fixture = Fixture::new();
    let input = fixture.write("texts.txt", format!("{}\n{}\n", words(1, 10), words(2, 25)));
    let run = |options: &str, out: &str| {
        let (model, input, out) = (fixture.path("model"), input.display(), fixture.path(out));
        let arguments = format!("encode --model {} --input {input} --out {} {options}", model.display(), out.display());
        job::run(1, &arguments).unwrap();
        read_lines(&out)
    };
    let (plain, mcls) = (run("", "plain.jsonl"), run("--mcls 10", "mcls.jsonl"));
    assert_same_text(&plain[0], &mcls[0]);
    let dense = |lines: &[Value]| numbers(&lines[1]["dense"]);
    assert!(dense(&plain).iter().zip(dense(&mcls)).any(|(a, b)| (a - b).abs() > 1e-3));
    let norm: f64 = dense(&mcls).iter().map(|x| x * x).sum();
    assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    let num_vectors = |lines: &[Value]| lines[1]["multi_vector"].as_array().unwrap().len();
    assert_eq!(num_vectors(&plain), num_vectors(&mcls), "inserted CLS have no vector");
    assert!(!mcls[1]["lexical"].as_object().unwrap().contains_key("0"), "and no weight");
}

#[test]
fn evaluation_is_the_same_on_any_number_of_ranks_and_follows_from_the_run_files() {
    let fixture = Fixture::new();
    let data = fixture.write_beir("small", 400, 30);
    let evaluate = |ranks: usize| {
        let (model, out) = (fixture.path("model"), fixture.path(&format!("out{ranks}")));
        let arguments = format!("eval --model {} --data {} --out {}", model.display(), data.display(), out.display());
        job::run(ranks, &arguments).unwrap();
        let metrics: Value = serde_json::from_slice(&fs::read(out.join("metrics.json")).unwrap()).unwrap();
        (metrics, out.join("small"))
    };
    let (one, runs) = evaluate(1);
    for ranks in [2, 3] {
        let (several, _) = evaluate(ranks);
        for (head, figures) in one["small"].as_object().unwrap() {
            for (name, figure) in figures.as_object().unwrap() {
                let other = several["small"][head][name].as_f64().unwrap();
                assert!((figure.as_f64().unwrap() - other).abs() < 1e-3, "{head} {name}: {figure} {other}");
            }
        }
    }
    for (head, depth) in [("dense", 400), ("lexical", 400), ("multi_vector", 200), ("dense_lexical", 400), ("all", 200)]
    {
        let run = fs::read_to_string(runs.join(format!("{head}.trec"))).unwrap();
        let mut reciprocal = 0.0;
        for query in 0..30 {
            let lines: Vec<Vec<&str>> = run
                .lines()
                .map(|l| l.split(' ').collect())
                .filter(|c: &Vec<&str>| c[0] == format!("q{query}"))
                .collect();
            assert!(lines.len() == depth || head == "lexical" && lines.len() < depth && !lines.is_empty());
            let key = |c: &Vec<&str>| (-c[4].parse::<f32>().unwrap(), c[2].to_owned());
            let ordered = |pair: &[Vec<&str>]| {
                key(&pair[0]).0 < key(&pair[1]).0
                    || key(&pair[0]).0 == key(&pair[1]).0 && key(&pair[0]).1 > key(&pair[1]).1
            };
            assert!(lines.windows(2).all(ordered), "best first, ties by descending id");
            assert!(lines.iter().zip(1..).all(|(c, rank)| c[3] == rank.to_string()));
            let relevant = [format!("d{}", query * 2), format!("d{}", (query * 7 + 1) % 400)];
            let first = lines.iter().take(10).position(|c| relevant.iter().any(|doc| doc == c[2]));
            reciprocal += first.map_or(0.0, |place| 1.0 / (place + 1) as f64);
        }
        let figure = one["small"][head]["mrr@10"].as_f64().unwrap();
        assert!((figure - reciprocal / 30.0).abs() < 1e-9, "{head}: {figure}");
    }
    // Queries share words with their documents, so that even fresh weights find some.
    assert!(one["small"]["lexical"]["recall@100"].as_f64().unwrap() > 0.3, "{one}");
}

#[test]
fn mined_negatives_are_nobodys_positives_and_the_same_on_any_number_of_ranks() {
    let fixture = Fixture::new();
    let rows: Vec<Value> = (0..60)
        .map(|i| {
            json!({"query": words(i, 3), "pos": [words(i, 20), words(i + 1000, 9)], "neg": [words(i + 500, 12)],
                   "neg_scores": [0.5], "pos_scores": [1.0, 2.0], "type": "x", "extra": {"n": i}})
        })
        .collect();
    let input = fixture.write("rows.jsonl", lines(rows.iter().cloned()));
    let mine = |ranks: usize, options: &str| {
        let (model, out) = (fixture.path("model"), fixture.path("mined.jsonl"));
        let paths = format!("--model {} --rows {} --out {}", model.display(), input.display(), out.display());
        job::run(ranks, &format!("mine {paths} {options}")).unwrap();
        let mined = read_lines(&out);
        for written in [out, fixture.path("mined.jsonl.mine.json")] {
            fs::remove_file(written).unwrap(); // it would not be written over
        }
        mined
    };
    let one = mine(1, "");
    assert_eq!(one, mine(2, ""));
    assert_eq!(one, mine(3, ""));
    assert_ne!(one, mine(1, "--seed 7"));
    for (row, mined) in rows.iter().zip(&one) {
        for field in ["query", "pos", "pos_scores", "type", "extra"] {
            assert_eq!(row[field], mined[field]);
        }
        assert!(mined.get("neg_scores").is_none());
        let negatives: Vec<&str> = mined["neg"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        assert_eq!(negatives.len(), 7);
        assert_eq!(negatives.iter().collect::<HashSet<_>>().len(), 7);
        assert!(row["pos"].as_array().unwrap().iter().all(|pos| !negatives.contains(&pos.as_str().unwrap())));
    }

    let corpus = fixture.write("corpus.jsonl", lines((0..40).map(|i| json!({"text": words(i + 2000, 8)}))));
    let from_corpus = mine(2, &format!("--corpus {} --negatives 3 --range 0-10", corpus.display()));
    let passages: HashSet<String> = (0..40).map(|i| words(i + 2000, 8)).collect();
    for mined in &from_corpus {
        let negatives = mined["neg"].as_array().unwrap();
        assert_eq!(negatives.len(), 3);
        assert!(negatives.iter().all(|text| passages.contains(text.as_str().unwrap())));
    }
}

#[test]
fn mistakes_end_all_ranks_with_file_line_and_reason() {
    let fixture = Fixture::new();
    let model = fixture.path("model").display().to_string();
    let out = fixture.path("out.jsonl").display().to_string();
    let error = |expected: ExitCode, arguments: String| {
        let (code, message) = job::run(2, &arguments).unwrap_err();
        assert_eq!(code, expected.code(), "{message}");
        message
    };
    let (usage, data) = (ExitCode::Usage, ExitCode::Data);

    let broken = fixture.write("broken.jsonl", "{\"text\": \"w1\"}\n{\"text\": 5}\n");
    let message = error(data, format!("encode --model {model} --input {} --out {out}", broken.display()));
    assert!(message.contains("broken.jsonl:2: \"text\" is 5: a string is expected"), "{message}");
    let empty = fixture.write("empty.txt", "w1\n\nw2\n");
    let message = error(data, format!("encode --model {model} --input {} --out {out}", empty.display()));
    assert!(message.contains("empty.txt:2: an empty text"), "{message}");
    let message = error(usage, format!("encode --model {model} --input {} --out {out}x", empty.display()));
    assert!(message.contains("the ending chooses the format"), "{message}");
    let good = fixture.write("good.txt", "w1\n");
    let message = error(usage, format!("encode --model no/model --input {} --out {out}", good.display()));
    assert!(message.contains("no/model"), "{message}");
    assert!(!Path::new(&out).exists());
    for command in ["encode --input", "mine --rows"] {
        let broken = broken.display();
        let message = error(usage, format!("{command} {broken} --model {model} --out {broken}"));
        assert!(message.contains("broken.jsonl is there already and is not overwritten"), "{message}");
    }

    let folder = fixture.write_beir("data", 20, 3);
    fs::remove_file(folder.join("qrels/test.tsv")).unwrap();
    let message = error(usage, format!("eval --model {model} --data {}", folder.display()));
    assert!(message.contains("qrels/test.tsv"), "{message}");
    let rows = fixture.write("rows.jsonl", "{\"query\": \"w1\", \"pos\": []}\n");
    let message = error(data, format!("mine --model {model} --rows {} --out {out}", rows.display()));
    assert!(message.contains("rows.jsonl:1: \"pos\" is empty"), "{message}");
}
