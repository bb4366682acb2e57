//! The list of operators that `make test-cuda-build` looks up in a CUDA build, tests/cuda-build/operators.txt, has all
//! that the worker calls on a device. `TERCET_BLESS=1 make test T=is_asked_of_the_cuda_build` adds what it lacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;
use tercet_tests::batch::TokenBatch;
use tercet_tests::place::topic_rows;
use tercet_tests::program::Tercet;
use tercet_tests::scene::{Scene, VOCABULARY};
use tercet_tests::stand_in::{Counts, StandIn};
use tercet_tests::text_scene::TextScene;

use super::golden_step;
use crate::faults::{BAD, Faulty};

#[test]
fn what_the_worker_calls_is_asked_of_the_cuda_build() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(2, 2);
    let file = scene.place.path("counts");
    let device = device.with("STAND_IN_COUNTS", &file);
    for preset in ["unified", "paper-v1", "dense"] {
        for precision in ["fp32", "bf16"] {
            let train = scene.train(&format!("{preset}-{precision}"), 1).set(format!("loss.preset={preset}"));
            let train = train.set(format!("precision={precision}")).set("model.dropout=0.1");
            device.under(train.set("loss.distill_start_step=0").set("kept_graph_tokens=0")).succeed();
        }
    }
    device.under(scene.train("mean", 1).set("model.pooling=mean")).succeed();
    device.under(scene.train("sharded", 1).set("optimizer.shard_state=true")).succeed();
    // Where numbers are not finite, a step is computed again and every stage of it looked at.
    let faulty = Faulty::new(&BAD, 2);
    device.under(faulty.train("run", 1)).succeed();
    assert!(faulty.log("run").contains("update skipped"));
    scene.write_judged("judged", 6);
    let judged = scene.train("judging", 1).set(format!("eval.data={:?}", [scene.place.path("judged")]));
    device.under(judged.set("eval.split=test").set("eval.every_steps=1")).succeed();
    let tokens = scene.place.path("batch.safetensors");
    TokenBatch::random(1, 8, 3, 32).write(&tokens);
    for precision in ["precision=fp32", "precision=bf16"] {
        let taught = ["loss.teacher=kl_div", "data.two_way=false", precision];
        device.under(golden_step(&tokens, &taught)).succeed();
    }

    let texts = TextScene::new();
    for precision in ["fp32", "bf16"] {
        let recipe = texts.recipe(2).set("precision", precision).set("model.dropout", 0.1);
        for settings in [&[][..], &["pretrain.decoder_query=positions", "pretrain.cls_visible=false"]] {
            let train = texts.train(&recipe, &format!("{precision}-{}", settings.len()), 1);
            device.under(settings.iter().fold(train, |train, setting| train.set(setting))).succeed();
        }
    }

    let model = scene.checkpoint("unified-bf16", 2).join("model");
    let rows = topic_rows((0..20).map(|i| 1 + (i * 7) % 60), VOCABULARY);
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let rows_file = scene.place.write("lists.jsonl", &lines);
    let texts: String = rows.iter().map(|row| format!("{}\n", row["pos"][0].as_str().unwrap())).collect();
    let corpus: String = rows
        .iter()
        .enumerate()
        .map(|(i, row)| format!("{}\n", json!({"_id": i.to_string(), "text": row["pos"][0]})))
        .collect();
    let queries: String = rows
        .iter()
        .enumerate()
        .map(|(i, row)| format!("{}\n", json!({"_id": i.to_string(), "text": row["query"]})))
        .collect();
    let judged: String = (0..rows.len()).map(|i| format!("{i}\t{i}\t1\n")).collect();
    fs::create_dir_all(scene.place.path("beir/qrels")).unwrap();
    scene.place.write("beir/corpus.jsonl", &corpus);
    scene.place.write("beir/queries.jsonl", &queries);
    scene.place.write("beir/qrels/test.tsv", &format!("query-id\tcorpus-id\tscore\n{judged}"));
    let command = |name: &str| Tercet::new(name).ranks(1).arg("--model").arg(&model);
    let encode = command("encode").arg("--input").arg(scene.place.write("texts.txt", &texts));
    device.under(encode.arg("--mcls").arg("16").arg("--out").arg(scene.place.path("vectors.safetensors"))).succeed();
    device.under(command("eval").arg("--data").arg(scene.place.path("beir"))).succeed();
    let mine = command("mine").arg("--rows").arg(&rows_file).arg("--negatives").arg("2");
    device.under(mine.arg("--out").arg(scene.place.path("mined.jsonl"))).succeed();

    let index = command("index").arg("--corpus").arg(scene.place.path("beir"));
    device.under(index.arg("--out").arg(scene.place.path("index"))).succeed();
    let search = command("search").arg("--index").arg(scene.place.path("index")).arg("--top").arg("3");
    let search = search.arg("--queries").arg(scene.place.path("beir/queries.jsonl")).arg("--rankings").arg("dense,all");
    device.under(search.arg("--out").arg(scene.place.path("runs"))).succeed();
    let score = command("score").arg("--rows").arg(&rows_file).arg("--index").arg(scene.place.path("index"));
    device.under(score.arg("--out").arg(scene.place.path("scored"))).succeed();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cuda-build/operators.txt");
    let list = fs::read_to_string(&path).unwrap();
    let listed: BTreeSet<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let counts = Counts::read(&file);
    // What else the counts say of a call stands behind the operator's name.
    let called = counts.operators().filter_map(|operator| operator.split(' ').next());
    // Kernels of our own are no operators of libtorch's.
    let called = called.filter(|operator| !operator.starts_with("tercet::"));
    let missing: BTreeSet<&str> = called.filter(|operator| !listed.contains(operator)).collect();
    if !missing.is_empty() && std::env::var_os("TERCET_BLESS").is_some() {
        let head: String = list.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        let all: String = listed.union(&missing).map(|operator| format!("{operator}\n")).collect();
        fs::write(&path, head + &all).unwrap();
        return;
    }
    assert!(missing.is_empty(), "{} lacks {missing:?}: see the top of this file", path.display());
}
