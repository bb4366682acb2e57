//! Training on the device: every preset, dropout, kept graphs, a run that was interrupted.

use std::fs;

use tercet_tests::compare::all_close;
use tercet_tests::scene::{Scene, assert_same_run, metrics};
use tercet_tests::stand_in::StandIn;
use tercet_tests::tensors;

const STEPS: u64 = 3;

fn trained(scene: &Scene, run: &str, settings: &[&str], device: Option<&StandIn>) {
    let train = settings.iter().fold(scene.train(run, 1), |train, setting| train.set(setting));
    match device {
        Some(device) => device.under(train).succeed(),
        None => train.succeed(),
    };
}

/// Losses, gradient norms and what the optimizer has come to, with dropout, whose masks are the CPU's.
#[test]
fn every_preset_trains_as_on_the_cpu() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(STEPS, STEPS);
    for preset in ["unified", "paper-v1", "independent", "dense"] {
        let preset_setting = format!("loss.preset={preset}");
        let settings = [preset_setting.as_str(), "precision=fp64", "model.dropout=0.1", "loss.distill_start_step=0"];
        let [found, expected] = [format!("device-{preset}"), format!("cpu-{preset}")];
        trained(&scene, &found, &settings, Some(&device));
        trained(&scene, &expected, &settings, None);
        let figures = |run: &str| -> Vec<f64> {
            let steps = metrics(&scene.place.path(run));
            steps.iter().flat_map(|step| ["loss", "grad_norm"].map(|key| step[key].as_f64().unwrap())).collect()
        };
        all_close(preset, &figures(&found), &figures(&expected), 1e-10);
        let state = |run: &str| tensors::read(&scene.checkpoint(run, STEPS).join("train/optimizer.safetensors"));
        let (found, expected) = (state(&found), state(&expected));
        assert!(found.keys().eq(expected.keys()));
        for (name, expected) in expected.iter().filter(|(name, _)| !name.contains("key.bias")) {
            all_close(&format!("{preset}: {name}"), &found[name], expected, 1e-9);
        }
    }
}

/// The second forward pass is the first one, dropout included: a graph that is kept changes no bit.
#[test]
fn kept_graphs_and_recomputed_ones_are_the_same_to_the_bit() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(STEPS, STEPS);
    for precision in ["precision=fp32", "precision=bf16"] {
        let runs = ["kept_graph_tokens=1000000", "kept_graph_tokens=0"].map(|kept| {
            let run = format!("{precision}-{kept}");
            trained(&scene, &run, &[precision, kept], Some(&device));
            run
        });
        assert_same_run(&scene, &runs[1], &runs[0], STEPS);
    }
}

/// Training goes on while a checkpoint is copied, and no further than to the next update: however long the copy takes,
/// it has the weights and moments of its step.
#[test]
fn a_checkpoint_is_of_its_step_however_long_its_copy_takes() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(STEPS, 1);
    let slow = device.clone().with("STAND_IN_COPY_MS", "300");
    let settings = ["precision=bf16", "checkpoint.keep=10"];
    trained(&scene, "slow", &settings, Some(&slow));
    trained(&scene, "quick", &settings, Some(&device));
    for step in 1..=STEPS {
        for file in ["model/model.safetensors", "train/optimizer.safetensors"] {
            let [slow, quick] = ["slow", "quick"].map(|run| fs::read(scene.checkpoint(run, step).join(file)).unwrap());
            assert!(slow == quick, "step {step}: {file}");
        }
    }
}

#[test]
fn a_run_resumes_to_the_same_bits() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(5, 1);
    let settings = ["precision=bf16"];
    trained(&scene, "whole", &settings, Some(&device));
    scene.copy_until("whole", 2, "resumed");
    let train = scene.train("resumed", 1).set("precision=bf16").arg("--resume");
    device.under(train).succeed();
    assert_same_run(&scene, "resumed", "whole", 5);
}
