//! What a step makes of rows is what training makes of them, and steps that teach nothing are told.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tercet_tests::compare::number;
use tercet_tests::place::{Place, golden, recipe};
use tercet_tests::program::Tercet;
use tercet_tests::scene::Scene;

#[test]
fn a_step_takes_rows_as_training_does() {
    let place = Place::new();
    let model = place.copy(&golden("nano_xlmr/hf"), "model");
    place.word_tokenizer("model/tokenizer.json", 64);
    let rows = |name: &str, query: &str, passage: &str, kind: &str| {
        let text = |prefix: &str, i: usize| format!("{prefix}w{} w{}", 20 + i, 40 + i);
        let row = |i: usize| {
            json!({"query": text(query, i), "pos": [text(passage, i + 1)], "neg": [text(passage, i + 5), text(passage, i + 9)],
                   "type": kind})
        };
        place.write(name, &(0..4).map(|i| row(i).to_string() + "\n").collect::<String>())
    };
    let loss_of = |rows: &Path, settings: &[&str], more: &[&str]| {
        let step = Tercet::new("step").arg(recipe("golden.toml")).arg("--json").arg("--model").arg(&model);
        let step = step.arg("--rows").arg(rows).set("data.group_size=3");
        let step = settings.iter().fold(step, |step, setting| step.set(setting));
        let step: Value = serde_json::from_str(&more.iter().fold(step, |step, word| step.arg(word)).succeed()).unwrap();
        number(&step["loss"])
    };
    let loss = |name: &str, [query, passage]: [&str; 2], kind: &str, settings: &[&str], more: &[&str]| {
        loss_of(&rows(name, query, passage, kind), settings, more)
    };
    let apart = |kind: &str, settings: &[&str]| loss("rows.jsonl", ["", ""], kind, settings, &[]);
    let (plain, joint) = (apart("", &[]), loss("joint.jsonl", ["w7 ", "w8 "], "", &[], &[]));
    assert_ne!(plain, joint);
    let both = ["data.query_prefix=w7", "data.passage_prefix=w8"];
    assert_eq!(apart("", &both), joint);
    // A data set's own settings are those of the file that is called like it, or of the one asked for.
    let own = ["data.sets=[{name=\"rows\",query_prefix=\"w7\",passage_prefix=\"w8\"}]"];
    assert_eq!(apart("", &own), joint);
    assert_eq!(loss("others.jsonl", ["", ""], "", &own, &[]), plain);
    assert_eq!(loss("others.jsonl", ["", ""], "", &own, &["--dataset", "rows"]), joint);
    // A symmetric type has the query's prefix on both sides; only_1neg has groups of two.
    assert_eq!(apart("symmetric_sts", &both), loss("joint.jsonl", ["w7 ", "w7 "], "", &[], &[]));
    assert_eq!(apart("only_1neg", &[]), apart("", &["data.group_size=2"]));
    // A folder of Hugging Face `datasets` stands for its files, and has a name of its own.
    let file = rows("saved/part.jsonl", "", "", "");
    place.write("saved/state.json", r#"{"_data_files": [{"filename": "part.jsonl"}]}"#);
    let folder = file.parent().unwrap();
    assert_eq!(loss_of(folder, &own, &[]), plain);
    assert_eq!(loss_of(folder, &[&own[0].replace("rows", "saved")], &[]), joint);
}

#[test]
fn steps_that_teach_nothing_are_told_once() {
    let row = |i: usize| json!({"query": "w5 w6", "pos": [format!("w{} w{}", 10 + i, 40 + i)]});
    let scene = Scene::of(&(0..16).map(row).collect::<Vec<_>>(), 4, 4);
    for ranks in [1, 2] {
        let run = format!("run-{ranks}");
        let ended = scene.train(&run, ranks).set("data.group_size=1").run();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr());
        let log = fs::read_to_string(scene.place.path(&run).join("train.log")).unwrap();
        for text in [&log, &ended.stderr()] {
            let words = "each of the batch's 56 negatives is a known answer of its query and is left out";
            assert_eq!(text.matches(words).count(), 1, "{text}");
            assert!(text.contains("in 4 of 4 steps the gradient was 0"), "{text}");
        }
    }
    let plan =
        Tercet::new("plan").arg(&scene.recipe).set("data.group_size=1").set("run_dir=none").arg("--world").arg("1");
    let told = plan.set("optimizer.learning_rate=1e-30").run();
    let words = (told.stdout.clone() + &told.stderr()).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("have no negative that is not a known answer"), "{words}");
    let lost = "optimizer.learning_rate is 1e-30, which is lost in the rounding";
    assert!(words.contains(lost), "{words}");
    let tiny = scene.train("tiny", 1).set("data.group_size=1").set("optimizer.learning_rate=1e-30").run();
    assert_eq!(tiny.stderr().matches(lost).count(), 1, "{}", tiny.stderr());
}
