//! Cards and drivers of other kinds: which of them end a command, with which words, and what each computes in.

use std::fs;

use serde_json::Value;
use tercet_tests::place::Place;
use tercet_tests::program::{Tercet, program};
use tercet_tests::scene::Scene;
use tercet_tests::stand_in::StandIn;

/// The variables of a stand-in whose GPUs CUDA does not give, exit code, and words.
type Blind = (&'static [(&'static str, &'static str)], i32, &'static [&'static str]);

const BLIND: [Blind; 2] = [
    (
        &[("STAND_IN_ERROR", "35"), ("STAND_IN_DRIVER", "12020")],
        2,
        &["libtorch sees n", "its driver speaks CUDA 12.2 only, and libtorch was built for CUDA 13.0"],
    ),
    (
        &[("STAND_IN_ERROR", "802")],
        3,
        &["libtorch sees n", "its fabric manager, which connects the GPUs, is not running (CUDA's error 802)"],
    ),
];

/// Neither with `device = "auto"` does a run compute on the CPU in their place.
#[test]
fn gpus_that_cuda_does_not_give_end_train_and_doctor() {
    let Some(devices) = StandIn::new(2) else { return };
    let scene = Scene::new(2, 0);
    for (variables, code, words) in BLIND {
        let devices = variables.iter().fold(devices.clone(), |devices, (name, value)| devices.with(name, *value));
        for device in ["auto", "cuda"] {
            let train = scene.train("run", 1).set(format!("device={device}")).set("restart.limit=0");
            devices.under(train).run().fails_with(code, words);
        }
        assert!(!scene.place.path("run").exists());
        let ended = devices.under(Tercet::new("doctor").arg(&scene.recipe).ranks(1)).run();
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr());
        assert!(words.iter().all(|words| ended.stdout.contains(words)), "{}", ended.stdout);
    }
}

#[test]
fn a_run_computes_in_what_its_card_is_made_for_and_its_folder_says_so() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(1, 0);
    for (capability, precision) in [("80", "bf16"), ("70", "fp32")] {
        let run = format!("run-{capability}");
        let device = device.clone().with("STAND_IN_CAPABILITY", capability);
        device.under(scene.train(&run, 1).set("precision=auto")).succeed();
        let recipe = fs::read_to_string(scene.place.path(&run).join("recipe.toml")).unwrap();
        let found = recipe.lines().find(|line| line.starts_with("precision = "));
        assert_eq!(found, Some(&*format!("precision = {precision:?}")), "compute capability {capability}");
        let log = fs::read_to_string(scene.place.path(&run).join("train.log")).unwrap();
        assert_eq!(log.contains("attention goes text by text"), precision == "fp32", "{log}");
    }
}

/// libtorch would prefer cuDNN's attention on Hopper, which prepares itself anew for each length.
#[test]
fn attention_is_the_flash_kernels_wherever_it_serves() {
    let Some(device) = StandIn::new(1) else { return };
    let place = Place::new();
    for capability in ["80", "90"] {
        let device = device.clone().with("STAND_IN_CAPABILITY", capability);
        let probe =
            Tercet::of(&program("tercet-worker"), "probe").arg("--tokens").arg("128").arg("--lens").arg("16,64");
        let probe = device.under(probe.arg("--heads").arg("2").env("TMPDIR", place.path("")));
        let report: Value = serde_json::from_str(&probe.succeed()).unwrap();
        assert_eq!(report["device"], "cuda", "{report}");
        let all = report["attention"].as_array().unwrap();
        let expected = |one: &Value| if one["precision"] == "bf16" { "flash" } else { "reference" };
        assert!(!all.is_empty() && all.iter().all(|one| one["kernel"] == expected(one)), "{report}");
    }
}
