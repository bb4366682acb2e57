//! Models put to use on the device: the vectors, figures and negatives that the CPU gives.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tercet_tests::compare::all_close;
use tercet_tests::place::topic_rows;
use tercet_tests::program::Tercet;
use tercet_tests::scene::{Scene, VOCABULARY};
use tercet_tests::stand_in::StandIn;
use tercet_tests::tensors;

use super::ranks::with_nccl;

/// A scene and a model of fresh weights, whose vectors differ widely.
fn scene() -> (Scene, PathBuf) {
    let scene = Scene::new(2, 0);
    scene.train("start", 1).set("steps=0").succeed();
    let model = scene.checkpoint("start", 0).join("model");
    (scene, model)
}

/// `tercet SUBCOMMAND --model MODEL` with two ranks on the CPU, and with two on two devices over NCCL.
fn both(subcommand: &str, model: &Path, arguments: impl Fn(Tercet, &str) -> Tercet) -> bool {
    let Some(devices) = StandIn::new(2) else { return false };
    let command = |name: &str| {
        let command = Tercet::new(subcommand).ranks(2).arg("--model").arg(model).arg("--precision").arg("fp32");
        arguments(command, name)
    };
    // The ranks join over NCCL; what they then exchange lies on the host.
    let device = with_nccl(devices.under(command("device")), &model.with_file_name("nccl-calls"));
    for (command, is_slow) in [(command("cpu"), 0), (device, 1)] {
        let ended = command.run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr());
        let said = ended.stderr().matches("attention goes text by text").count();
        assert_eq!(said, is_slow, "{}", ended.stderr());
    }
    true
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

#[test]
fn encoded_texts_are_the_cpus() {
    let (scene, model) = scene();
    let rows = topic_rows((0..30).map(|i| 1 + (i * 7) % 60), VOCABULARY);
    let texts: String = rows.iter().map(|row| format!("{}\n", row["pos"][0].as_str().unwrap())).collect();
    let input = scene.place.write("texts.txt", &texts);
    for mcls in [None, Some("16")] {
        let out = |name: &str| scene.place.path(&format!("{name}-{}.safetensors", mcls.unwrap_or("0")));
        let compared = both("encode", &model, |encode, name| {
            let encode = encode.arg("--input").arg(&input).arg("--out").arg(out(name));
            mcls.into_iter().fold(encode, |encode, every| encode.arg("--mcls").arg(every))
        });
        if !compared {
            return;
        }
        let [found, expected] = ["device", "cpu"].map(|name| tensors::read(&out(name)));
        assert!(found.keys().eq(expected.keys()) && expected.len() >= 3, "{:?}", expected.keys());
        for (name, expected) in &expected {
            all_close(name, &found[name], expected, 1e-5);
        }
    }
}

#[test]
fn figures_and_negatives_are_the_cpus() {
    let (scene, model) = scene();
    let rows = topic_rows((0..30).map(|i| 3 + (i * 7) % 40), VOCABULARY);
    let text = |row: &Value| row["pos"][0].clone();
    let corpus = rows.iter().enumerate().map(|(i, row)| json!({"_id": format!("d{i}"), "text": text(row)}));
    let queries = rows.iter().enumerate().map(|(i, row)| json!({"_id": format!("q{i}"), "text": row["query"]}));
    scene.place.write("beir/corpus.jsonl", &lines(corpus));
    scene.place.write("beir/queries.jsonl", &lines(queries));
    let judged: String = (0..rows.len()).map(|i| format!("q{i}\td{i}\t1\n")).collect();
    scene.place.write("beir/qrels/test.tsv", &format!("query-id\tcorpus-id\tscore\n{judged}"));
    let path = |name: &str| scene.place.path(name);
    let evaluated = both("eval", &model, |eval, name| {
        eval.arg("--data").arg(path("beir")).arg("--json").arg(path(&format!("{name}.json")))
    });
    if !evaluated {
        return;
    }
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    let figures = read("cpu.json");
    assert!(figures.contains("ndcg"), "{figures}");
    assert_eq!(read("device.json"), figures);

    let rows: Vec<Value> = rows.iter().map(|row| json!({"query": row["query"], "pos": row["pos"]})).collect();
    let input = scene.place.write("mine.jsonl", &lines(rows.into_iter()));
    both("mine", &model, |mine, name| {
        let mine = mine.arg("--rows").arg(&input).arg("--out").arg(path(&format!("{name}.jsonl")));
        mine.arg("--negatives").arg("3").arg("--range").arg("2-12")
    });
    let mined = read("cpu.jsonl");
    assert!(mined.lines().count() == 30 && mined.contains("\"neg\""), "{mined}");
    assert_eq!(read("device.jsonl"), mined);
}

#[test]
fn an_index_and_its_lists_are_the_cpus() {
    let (scene, model) = scene();
    let rows = topic_rows((0..300).map(|i| 3 + (i * 7) % 40), VOCABULARY);
    let corpus = rows.iter().enumerate().map(|(i, row)| json!({"_id": format!("d{i}"), "text": row["pos"][0]}));
    let queries = rows.iter().enumerate().map(|(i, row)| json!({"_id": format!("q{i}"), "text": row["query"]}));
    let corpus = scene.place.write("corpus.jsonl", &lines(corpus));
    let queries = scene.place.write("queries.jsonl", &lines(queries.take(70)));
    let path = |name: &str| scene.place.path(name);
    let indexed = both("index", &model, |index, name| {
        index.arg("--corpus").arg(&corpus).arg("--store").arg("fp32").arg("--out").arg(path(name))
    });
    if !indexed {
        return;
    }
    for block in ["000000", "000001"] {
        let dense = |name: &str| tensors::rows(&path(&format!("{name}/blocks/{block}.safetensors")), "dense").concat();
        all_close(block, &dense("device"), &dense("cpu"), 1e-5);
    }
    let search = |index: &str, rankings: &str| {
        // Fewer than a block has, so that the device chooses.
        both("search", &model, |search, name| {
            let search = search.arg("--index").arg(path(index)).arg("--queries").arg(&queries).arg("--top").arg("20");
            let search = search.arg("--rerank").arg("10").arg("--rankings").arg(rankings);
            search.arg("--out").arg(path(&format!("{name}-{index}-runs")))
        });
    };
    search("cpu", "dense,bm25,all");
    // Rows of bfloat16 are multiplied as they are, and the products are float32's all the same.
    let rounded = Tercet::new("index").arg("--model").arg(&model).arg("--corpus").arg(&corpus);
    rounded.arg("--store").arg("bf16").arg("--out").arg(path("rounded")).succeed();
    search("rounded", "dense");
    let scores = |name: &str, index: &str, ranking: &str| -> Vec<f64> {
        let run = fs::read_to_string(path(&format!("{name}-{index}-runs/{ranking}.trec"))).unwrap();
        run.lines().map(|line| line.split(' ').nth(4).unwrap().parse().unwrap()).collect()
    };
    let all = [("cpu", "dense", 20), ("cpu", "bm25", 20), ("cpu", "all", 10), ("rounded", "dense", 20)];
    for (index, ranking, depth) in all {
        let [found, expected] = ["device", "cpu"].map(|name| scores(name, index, ranking));
        assert!(found.len() == expected.len() && !found.is_empty() && found.len() <= 70 * depth, "{index} {ranking}");
        let close = found.iter().zip(&expected).all(|(found, expected)| (found - expected).abs() < 1e-5);
        assert!(close, "{index} {ranking}");
    }
}
