//! The demo in small, on a device: rows, a first stage with the dense loss, negatives mined by its model, a second
//! stage from that model with all heads, and figures.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tercet_tests::compare::all_close;
use tercet_tests::place::{recipe, topic_rows};
use tercet_tests::program::Tercet;
use tercet_tests::scene::{Scene, VOCABULARY, metrics};
use tercet_tests::stand_in::StandIn;

const STEPS: u64 = 4;

/// The miniature of the demo's stages, on the scene's data.
fn stage(scene: &Scene, name: &str, store: &Path, settings: &[String]) -> Tercet {
    let train = Tercet::new("train").arg(recipe("same-numbers.toml")).ranks(1);
    let own = [
        format!("run_dir={}", scene.place.path(name).display()),
        format!("data.store={}", store.display()),
        format!("steps={STEPS}"),
        "data.sets=[]".to_owned(),
        "precision=bf16".to_owned(),
        "data.passage_max_len=64".to_owned(),
        "data.length_groups=[{max_len=64,global_batch=6}]".to_owned(),
    ];
    own.iter().chain(settings).fold(train, |train, setting| train.set(setting))
}

#[test]
fn the_demo_in_small() {
    let Some(device) = StandIn::new(1) else { return };
    let rows = topic_rows((0..24).map(|i| 4 + i % 20), VOCABULARY);
    let scene = Scene::of(&rows, STEPS, 0);
    let path = |name: &str| scene.place.path(name);
    let model_of = |run: &str| -> PathBuf { path(run).join(format!("step-{STEPS:08}/model")) };

    let fresh = ["model.config", "model.tokenizer"].into_iter().zip(["model/config.json", "model/tokenizer.json"]);
    let mut settings: Vec<String> = fresh.map(|(key, file)| format!("{key}={}", path(file).display())).collect();
    settings.push("loss.preset=dense".to_owned());
    device.under(stage(&scene, "dense", &path("rows"), &settings)).succeed();

    let mine = Tercet::new("mine").ranks(1).arg("--model").arg(model_of("dense")).arg("--rows").arg(path("rows.jsonl"));
    let mine = mine.arg("--out").arg(path("mined.jsonl")).arg("--negatives").arg("3").arg("--range").arg("1-12");
    device.under(mine).succeed();
    let mined = fs::read_to_string(path("mined.jsonl")).unwrap();
    let mined: Vec<Value> = mined.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(mined.iter().all(|row| row["neg"].as_array().unwrap().len() >= 3), "{}", mined[0]);

    let store = scene.place.store_of("mined-rows", &mined, VOCABULARY + 1);
    let settings = [format!("model.path={}", model_of("dense").display()), "data.group_size=3".to_owned()];
    device.under(stage(&scene, "unified", &store, &settings)).succeed();
    let losses: Vec<f64> = metrics(&path("unified")).iter().map(|step| step["loss"].as_f64().unwrap()).collect();
    assert_eq!(losses.len() as u64, STEPS);
    assert!(model_of("unified").join("sparse_linear.pt").is_file());

    scene.write_judged("judged", 12);
    let figures = |out: &str, on: &dyn Fn(Tercet) -> Tercet| -> Vec<f64> {
        let eval = Tercet::new("eval").ranks(1).arg("--model").arg(model_of("unified")).arg("--precision").arg("fp32");
        on(eval.arg("--data").arg(path("judged")).arg("--out").arg(path(out))).succeed();
        let metrics: Value = serde_json::from_slice(&fs::read(path(out).join("metrics.json")).unwrap()).unwrap();
        let mut found = Vec::new();
        numbers(&metrics, &mut found);
        found
    };
    let (found, expected) = (figures("on-device", &|eval| device.under(eval)), figures("on-cpu", &|eval| eval));
    assert!(expected.len() > 5 && expected.iter().any(|figure| *figure > 0.0), "{expected:?}");
    all_close("figures", &found, &expected, 1e-6);
}

/// All numbers of a report, in its order.
fn numbers(of: &Value, found: &mut Vec<f64>) {
    match of {
        Value::Number(number) => found.extend(number.as_f64()),
        Value::Array(all) => all.iter().for_each(|one| numbers(one, found)),
        Value::Object(all) => all.values().for_each(|one| numbers(one, found)),
        _ => {}
    }
}
