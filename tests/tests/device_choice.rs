//! `device`: a rank never computes on the CPU in place of a GPU, and every command says why it does not begin. GPUs are
//! hidden from these runs, so that they go the same way on any machine; which words they end with depends on whether
//! there is a driver.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value;
use tercet_configs::NvidiaDriver;
use tercet_tests::place::{golden, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::scene::Scene;

/// What a run says that was to compute on GPUs.
fn refusal() -> &'static str {
    match NvidiaDriver::look(Path::new("/")) {
        Some(_) => "libtorch sees n",
        None => "device is \"cuda\", and the machine has no NVIDIA driver",
    }
}

#[test]
fn cuda_where_no_gpu_is_seen_ends_every_command_before_it_begins() {
    let scene = Scene::new(2, 0);
    for ranks in [1, 2] {
        let named = ["rank 0 (", "ranks 0 to 1 ("][ranks - 1];
        scene.train("run", ranks).set("device=cuda").run().fails_with(2, &[named, refusal(), "set device = \"cpu\""]);
    }
    assert!(!scene.place.path("run").exists());
    let model = golden("nano_xlmr/hf");
    let texts = scene.place.write("texts.txt", "w4 w5\n");
    let rows = scene.place.write("mined.jsonl", "{\"query\": \"w4\", \"pos\": [\"w5\"]}\n");
    let on_model = |command: &str| Tercet::new(command).arg("--model").arg(&model).arg("--device").arg("cuda");
    for command in [
        on_model("encode").arg("--input").arg(&texts).arg("--out").arg(scene.place.path("out.jsonl")),
        on_model("eval").arg("--data").arg(scene.place.path("")),
        on_model("mine").arg("--rows").arg(&rows).arg("--out").arg(scene.place.path("out.jsonl")),
        Tercet::new("bench").arg(&scene.recipe).set("device=cuda"),
        Tercet::new("step")
            .arg(recipe("golden.toml"))
            .set("device=cuda")
            .arg("--model")
            .arg(&model)
            .arg("--tokens")
            .arg("t"),
    ] {
        command.ranks(1).run().fails_with(2, &["rank 0 (", refusal()]);
    }
}

#[test]
fn doctor_reports_what_would_end_a_run_and_measures_nevertheless() {
    let scene = Scene::new(2, 0);
    let ended = Tercet::new("doctor").arg(&scene.recipe).ranks(2).arg("--device").arg("cuda").run();
    assert_eq!(ended.code, Some(2), "{}{}", ended.stdout, ended.stderr());
    for words in ["mistake: ", "ranks 0 to 1: ", refusal(), "nothing (device = \"cuda\")", "FLOP/s"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let run_dir = format!("run_dir={}", scene.place.path("run").display());
    let fit = Tercet::new("doctor").arg(&scene.recipe).set(run_dir).set("device=cpu").ranks(2).arg("--json").arg("-");
    let report: Value = serde_json::from_str(&fit.succeed()).unwrap();
    let device = &report["ranks"][1]["device"];
    assert_eq!((&device["asked"], &device["used"]), (&Value::from("cpu"), &Value::from("cpu")));
    assert_eq!((&device["num_local_ranks"], &device["libtorch_gpus"]), (&Value::from(2), &Value::from(0)));
}

#[test]
fn the_cpu_by_choice_trains_as_the_cpu_by_default_does() {
    let scene = Scene::new(2, 0);
    let train = |run: &str, device: &str| scene.train(run, 2).set(format!("device={device}")).succeed();
    train("auto", "auto");
    train("cpu", "cpu");
    tercet_tests::scene::assert_same_run(&scene, "cpu", "auto", 2);
}
