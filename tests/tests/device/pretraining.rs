//! Pre-training on the device: the published numbers, and a run on two devices.

use serde_json::Value;
use tercet_tests::compare::number;
use tercet_tests::place::{golden, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::scene::metrics;
use tercet_tests::stand_in::StandIn;
use tercet_tests::text_scene::TextScene;

use super::{ranks, report};

/// Folder, and what differs from tests/recipes/golden-mae.toml.
const CASES: [(&str, &[&str]); 5] = [
    ("nano_xlmr_mae/basic", &[]),
    ("nano_bert_mae/basic", &["sub_batch_tokens=20"]),
    ("nano_xlmr_mae/cls_hidden", &[]),
    ("nano_xlmr_mae/positions_query", &["pretrain.decoder_query=positions"]),
    ("nano_xlmr_mae/mlm_only", &["loss.preset=mlm"]),
];

#[test]
fn published_losses_and_gradients_in_every_precision() {
    let Some(device) = StandIn::new(1) else { return };
    for (folder, settings) in CASES {
        let reference: Value =
            serde_json::from_str(&std::fs::read_to_string(golden(folder).join("ref.json")).unwrap()).unwrap();
        for (precision, tolerance) in [("fp64", 1e-9), ("fp32", 1e-5), ("bf16", 2e-2)] {
            let step =
                Tercet::new("step").arg(recipe("golden-mae.toml")).arg("--json").set(format!("precision={precision}"));
            let step = step.arg("--model").arg(golden(folder.split('/').next().unwrap()).join("hf"));
            let step = step.arg("--tokens").arg(golden(folder).join("tensors.safetensors"));
            let found = report(device.under(settings.iter().fold(step, |step, setting| step.set(setting))));
            for key in ["loss", "total_grad_norm"] {
                let (found, expected) = (number(&found[key]), number(&reference[key]));
                let error = (found - expected).abs() / expected;
                assert!(error <= tolerance, "{folder} in {precision}: {key} is off by {error:e}");
            }
        }
    }
}

#[test]
fn two_devices_learn_what_one_does() {
    let Some(devices) = StandIn::new(2) else { return };
    let scene = TextScene::new();
    let recipe = scene.recipe(4).set("precision", "fp64");
    let calls = scene.place.path("calls");
    devices.under(scene.train(&recipe, "one", 1)).succeed();
    ranks::with_nccl(devices.under(scene.train(&recipe, "two", 2)).set("backend=nccl"), &calls).succeed();
    let losses =
        |run: &str| -> Vec<f64> { metrics(&scene.place.path(run)).iter().map(|line| number(&line["loss"])).collect() };
    for (one, two) in losses("one").iter().zip(losses("two")) {
        assert!((one - two).abs() < 1e-9, "{one} {two}");
    }
}
