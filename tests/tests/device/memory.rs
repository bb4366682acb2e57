//! Memory of a device: what `memory_budget` makes of it, what is held at most, and what `tercet plan` says of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_fixtures::{ModelConfig, RecipeBuilder};
use tercet_tests::place::Place;
use tercet_tests::program::Tercet;
use tercet_tests::stand_in::{Counts, StandIn};

use crate::sharded_state;

const MIB: u64 = 1 << 20;
const VOCABULARY: usize = 500;

/// A model whose graphs are larger than itself.
fn model() -> ModelConfig {
    ModelConfig { num_layers: 4, ..ModelConfig::of_width(64, VOCABULARY, 512) }
}

/// Texts of up to 500 words, and this many rows a batch.
fn recipe(place: &Place, config: &ModelConfig, global_batch: usize) -> PathBuf {
    let store = place.store("store", (0..40).map(|i| 20 + (i * 97) % 480), VOCABULARY);
    let config = place.model_config("config.json", config);
    let recipe = RecipeBuilder::new("fitted", 2).fresh_model(&config, &place.path("store-tokenizer.json"));
    let recipe = recipe.data(&store, [16, 512], 2).length_groups(&[(512, global_batch)]).set("sub_batch_tokens", 1024);
    place.recipe("recipe.toml", &recipe.set("checkpoint.every_steps", 0).set("precision", "bf16"))
}

fn train(place: &Place, run: &str, recipe: &Path, devices: &StandIn, ranks: usize, settings: &[String]) -> Tercet {
    let train = Tercet::new("train").arg(recipe).ranks(ranks).set("backend=mpi");
    let train = train.set(format!("run_dir={}", place.path(run).display()));
    let devices = devices.clone().with("STAND_IN_COUNTS", place.path(&format!("{run}-counts")));
    settings.iter().fold(devices.under(train), |train, setting| train.set(setting))
}

/// Bytes that a run has held at most, and tokens whose graphs it keeps.
fn trained(place: &Place, recipe: &Path, devices: &StandIn, ranks: usize, budget: &str) -> (u64, u64) {
    let run = format!("run-{budget}-{ranks}");
    train(place, &run, recipe, devices, ranks, &[format!("memory_budget=\"{budget}\"")]).succeed();
    let log = fs::read_to_string(place.path(&run).join("train.log")).unwrap();
    let (_, rest) = log.split_once("the rest keeps the graphs of ").unwrap_or_else(|| panic!("{log}"));
    (
        Counts::read(&place.path(&format!("{run}-counts"))).most_bytes(0),
        rest.split_once(' ').unwrap().0.parse().unwrap(),
    )
}

#[test]
fn a_run_stays_within_its_budget_and_auto_takes_a_device_for_each_rank() {
    let Some(devices) = StandIn::new(2) else { return };
    let devices = devices.with_mib(512);
    let place = Place::new();
    let recipe = recipe(&place, &model(), 8);
    let (most, kept) = trained(&place, &recipe, &devices, 1, "29MiB");
    println!("29 MiB: {} MiB at most, {kept} tokens kept", most / MIB);
    assert!(most <= 29 * MIB, "{most} bytes");
    let (most_alone, kept_alone) = trained(&place, &recipe, &devices, 1, "auto");
    println!("auto: {} MiB at most, {kept_alone} tokens kept", most_alone / MIB);
    assert!(most_alone <= 512 * MIB && kept_alone > kept);
    // A device is a rank's own, whatever number of ranks the machine has.
    let (_, kept_together) = trained(&place, &recipe, &devices, 2, "auto");
    println!("auto, two ranks: {kept_together} tokens kept");
    assert!(kept_together as f64 > 0.8 * kept_alone as f64, "{kept_together} of {kept_alone}");

    let train = train(&place, "refused", &recipe, &devices, 1, &["memory_budget=10MiB".to_owned()]);
    train.run().fails_with(2, &["memory_budget: 10485760 bytes are too few", "give at least"]);
}

/// What the driver's context takes, no tensor can have: of a budget as of what is free.
#[test]
fn a_context_is_part_of_what_a_run_uses() {
    const CONTEXT_MIB: u64 = 200;
    let Some(devices) = StandIn::new(1) else { return };
    let devices = devices.with_mib(512);
    let beside = devices.clone().with("STAND_IN_CONTEXT_MIB", CONTEXT_MIB.to_string());
    let (alone, place) = (Place::new(), Place::new());
    let (_, kept_alone) = trained(&alone, &recipe(&alone, &model(), 8), &devices, 1, "auto");
    let recipe = recipe(&place, &model(), 8);
    for (budget, mib) in [("auto", 512), ("260MiB", 260)] {
        let (most, kept) = trained(&place, &recipe, &beside, 1, budget);
        println!("{budget}: {} MiB at most beside {CONTEXT_MIB}, {kept} tokens kept of {kept_alone}", most / MIB);
        assert!(most + CONTEXT_MIB * MIB <= mib * MIB && kept > 0 && kept < kept_alone, "{budget}: {most} bytes");
    }
    let train = train(&place, "refused", &recipe, &beside, 1, &["memory_budget=\"150MiB\"".to_owned()]);
    train.run().fails_with(2, &["memory_budget: 157286400 bytes are too few", "give at least"]);
}

/// The trial of the longest batch ends the run at once, on all ranks, and names what would make it smaller.
#[test]
fn a_batch_that_cannot_be_scored_is_refused_with_what_to_lower() {
    let Some(devices) = StandIn::new(2) else { return };
    let devices = devices.with_mib(24);
    let place = Place::new();
    let recipe = recipe(&place, &model(), 32);
    for (run, settings) in [("asked", &["memory_budget=\"auto\"".to_owned()][..]), ("unasked", &[])] {
        let on_each = "32 queries and 64 passages of up to 512 tokens on each rank";
        let lower = "lower global_batch (32) of the length group up to 512 tokens";
        let train = train(&place, run, &recipe, &devices, 1, settings);
        train.run().fails_with(2, &["too little to score the longest batch", on_each, lower, "kept_graph_tokens = 0"]);
    }
}

/// What the plan counts beside tensors.
fn is_beside_tensors(part: &Value) -> bool {
    let name = part["name"].as_str().unwrap();
    ["program", "context", "NCCL", "allocator"].iter().any(|word| name.contains(word))
}

#[test]
fn no_step_holds_more_than_planned() {
    let Some(device) = StandIn::new(1) else { return };
    let narrow = ModelConfig { intermediate_size: 64, ..model() };
    for (run, config, settings) in [
        ("kept", model(), ["kept_graph_tokens=1000000", "precision=bf16", "loss.preset=unified"]),
        ("partly kept", model(), ["kept_graph_tokens=3000", "precision=bf16", "loss.preset=unified"]),
        ("recomputed", model(), ["kept_graph_tokens=0", "precision=bf16", "loss.preset=unified"]),
        ("fp32", model(), ["kept_graph_tokens=1000000", "precision=fp32", "loss.preset=unified"]),
        ("fp32 partly kept", model(), ["kept_graph_tokens=3000", "precision=fp32", "loss.preset=unified"]),
        ("dense", model(), ["kept_graph_tokens=0", "precision=bf16", "loss.preset=dense"]),
        ("dense partly kept", model(), ["kept_graph_tokens=3000", "precision=bf16", "loss.preset=dense"]),
        ("narrow", narrow.clone(), ["kept_graph_tokens=0", "precision=bf16", "loss.preset=dense"]),
        ("narrow partly kept", narrow.clone(), ["kept_graph_tokens=3000", "precision=bf16", "loss.preset=dense"]),
        ("narrow unified", narrow, ["kept_graph_tokens=3000", "precision=bf16", "loss.preset=unified"]),
    ] {
        let place = Place::new();
        let recipe = recipe(&place, &config, 8);
        let plan = Tercet::new("plan").arg(&recipe).arg("--device").arg("cuda").arg("--world").arg("1");
        let plan = settings.iter().fold(plan, |plan, setting| plan.set(setting)).arg("--json").arg("-").succeed();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let parts = plan["memory"]["parts"].as_array().unwrap();
        let planned: f64 =
            parts.iter().filter(|part| !is_beside_tensors(part)).map(|part| part["bytes"].as_f64().unwrap()).sum();
        let settings = settings.map(str::to_owned);
        train(&place, "run", &recipe, &device, 1, &settings).succeed();
        let held = Counts::read(&place.path("run-counts")).most_bytes(0);
        println!("{run}: {:.2} MiB held at most, {:.2} MiB planned", held as f64 / MIB as f64, planned / MIB as f64);
        assert!(held as f64 <= planned, "{run}: {held} bytes held, {planned} planned: {parts:?}");
    }
}

/// A checkpoint at each step and a resumed run hold no more of a device than a step does. So with two ranks a sharded
/// run holds, at its most, half of the optimizer's moments less than a whole one. Its bits are the same, resumed or
/// not.
#[test]
fn checkpoints_of_a_sharded_run_hold_no_more_than_its_steps() {
    let Some(devices) = StandIn::new(2) else { return };
    let place = Place::new();
    let recipe = sharded_state::recipe(&place);
    let most = |run: &str, sharded: bool, resumes: bool| {
        let settings = ["precision=fp32", "device=cuda", "checkpoint.every_steps=1", "kept_graph_tokens=0"];
        let mut settings = settings.map(str::to_owned).to_vec();
        settings.push(format!("optimizer.shard_state={sharded}"));
        let mut train = train(&place, run, &recipe, &devices, 2, &settings);
        if resumes {
            train = train.arg("--resume");
        }
        train.succeed();
        Counts::read(&place.path(&format!("{run}-counts"))).most_bytes(0)
    };
    let (whole, sharded) = (most("whole", false, false), most("sharded", true, false));
    let last = format!("step-{:08}", sharded_state::STEPS);
    fs::remove_dir_all(place.copy(&place.path("sharded"), "resumed").join(&last)).unwrap();
    let resumed = most("resumed", true, true);
    sharded_state::assert_same_state(&place, "sharded", "whole");
    sharded_state::assert_same_state(&place, "resumed", "whole");
    let moments = fs::metadata(place.path("whole").join(&last).join("train/optimizer.safetensors")).unwrap().len();
    println!("{} MiB whole, {} sharded, {} resumed", whole / MIB, sharded / MIB, resumed / MIB);
    for (run, most) in [("sharded", sharded), ("resumed", resumed)] {
        assert!(most + moments * 49 / 100 <= whole, "{run}: {most} bytes held, {whole} of a whole state");
    }
}
