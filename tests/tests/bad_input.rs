//! Mistakes and failures: each ends with words that name the thing and say what to do, the right exit code (2 the
//! user's mistake, 3 a peer or machine, 4 bad data), no trace of a panic, and every rank gone soon.
//!
//! [`Ended::fails_with`] looks at all of that; no run here may leave a process behind.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tercet_fixtures::RecipeBuilder;
use tercet_tests::batch::TokenBatch;
use tercet_tests::place::{Place, golden, recipe};
use tercet_tests::program::{Ended, Tercet, program, send};

/// A store of 16 rows that the golden model can train on, and a recipe that does so for `steps` steps.
fn scene(steps: u64) -> (Place, PathBuf) {
    let place = Place::new();
    let store = place.store("rows", (0..16).map(|i| 2 + (i * 5) % 28), 64);
    let recipe = RecipeBuilder::new("bad", steps).set("run_dir", place.path("run"));
    let recipe = recipe.set("model.path", golden("nano_xlmr/hf")).data(&store, [16, 32], 3).length_groups(&[(32, 4)]);
    // What is looked at is the first failure.
    let recipe = recipe.set("checkpoint.every_steps", 2).set("restart.limit", 0).set("restart.backoff_secs", 0);
    let recipe = place.recipe("recipe.toml", &recipe);
    (place, recipe)
}

fn train(recipe: &Path, ranks: usize) -> Tercet {
    Tercet::new("train").arg(recipe).ranks(ranks)
}

fn step(model: &Path, ranks: usize) -> Tercet {
    Tercet::new("step").arg(recipe("golden.toml")).arg("--json").arg("--model").arg(model).ranks(ranks)
}

#[test]
fn a_recipe_with_a_mistake() {
    let place = Place::new();
    let run = |text: &str| train(&place.write("r.toml", text), 2).run();
    run("name = \"a\"\nsteps = 1\n[loss]\ntemprature = 0.1\n").fails_with(2, &["r.toml", "line 4", "`temperature`"]);
    run("name = \"a\"\nsteps = \"many\"\n").fails_with(2, &["r.toml", "line 2", "steps = \"many\"", "expected u64"]);
    run("name = \"a\"\nsteps = 1\n[loss]\npreset = \"unifed\"\n").fails_with(2, &["line 4", "`unified`"]);
    run("steps = 1\n").fails_with(2, &["r.toml", "missing field `name`"]);
    run("name = \"a\"\nsteps = 1\n").fails_with(2, &["run_dir is empty"]);
    let run_dir = format!("run_dir={}", place.path("run").display());
    let run = |text: &str| train(&place.write("r.toml", text), 2).set(&run_dir).run();
    run("name = \"a\"\nsteps = 1\n").fails_with(2, &["data.store is empty", "tercet prepare"]);
    train(&place.path("none.toml"), 1).run().fails_with(2, &["none.toml", "No such file"]);
    let (_place, recipe) = scene(1);
    train(&recipe, 1)
        .set("loss.temperature=warm")
        .run()
        .fails_with(2, &["--set loss.temperature=warm", "expected f64"]);
    train(&recipe, 1).set("loss.temperature=0").run().fails_with(2, &["loss.temperature: is 0", "must be above 0"]);
    for (setting, words) in [
        ("optimizer.beta2=1.0", "optimizer.beta2: is 1: a number from 0 to below 1"),
        ("optimizer.epsilon=1e-300", "optimizer.epsilon: is"),
        ("optimizer.learning_rate=1e300", "which is no 32-bit number"),
        ("restart.hang_secs=1e300", "restart.hang_secs: is"),
        ("data.group_size=3000000", "at most 10000 passages a query"),
        ("model.max_position_embeddings=4000000000", "model.max_position_embeddings: is 4000000000: at most"),
    ] {
        train(&recipe, 1).set(setting).run().fails_with(2, &[words]);
    }
    train(&recipe, 1).set("data.store=/nowhere").run().fails_with(2, &["/nowhere"]);
}

#[test]
fn a_model_that_cannot_be_read() {
    let place = Place::new();
    let tokens = place.path("batch.safetensors");
    TokenBatch::random(1, 4, 2, 16).write(&tokens);
    let fails = |change: fn(&Path), ranks: usize, words: &[&str]| {
        let model = place.copy(&golden("nano_xlmr/hf"), "model");
        change(&model);
        step(&model, ranks).arg("--tokens").arg(&tokens).run().fails_with(2, words);
        fs::remove_dir_all(model).unwrap();
    };

    fails(|model| fs::remove_dir_all(model).and_then(|()| fs::create_dir(model)).unwrap(), 1, &["config.json"]);
    let missing: fn(&Path) = |model| fs::remove_file(model.join("model.safetensors")).unwrap();
    let truncated: fn(&Path) = |model| {
        let path = model.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    for ranks in [1, 2] {
        fails(missing, ranks, &["model: no weights here: model.safetensors", "pytorch_model.bin"]);
        fails(truncated, ranks, &["model/model.safetensors: not a readable safetensors file", "is it cut off?"]);
    }

    // Every weight that does not fit, with what was expected and what is there.
    let edit = |model: &Path, from: &str, to: &str| {
        let path = model.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(path, text.replace(from, to)).unwrap();
    };
    let model = place.copy(&golden("nano_xlmr/hf"), "wider");
    edit(&model, "\"intermediate_size\": 32", "\"intermediate_size\": 48");
    step(&model, 1).arg("--tokens").arg(&tokens).run().fails_with(
        2,
        &[
            "wider/model.safetensors: the weights do not fit config.json:",
            "encoder.layer.0.intermediate.dense.weight: expected [48, 16], found [32, 16]",
            "encoder.layer.0.intermediate.dense.bias: expected [48], found [32]",
            "encoder.layer.1.output.dense.weight: expected [16, 48], found [16, 32]",
        ],
    );
    let model = place.copy(&golden("nano_xlmr/hf"), "deeper");
    edit(&model, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    let words = ["encoder.layer.2.attention.self.query.weight: expected [16, 16], not in the file"];
    step(&model, 1).arg("--tokens").arg(&tokens).run().fails_with(2, &words);
    let model = place.copy(&golden("nano_xlmr/hf"), "other");
    edit(&model, "xlm-roberta", "llama");
    let words = ["other/config.json: model_type \"llama\" is not supported", "xlm-roberta"];
    step(&model, 1).arg("--tokens").arg(&tokens).run().fails_with(2, &words);
    fails(|model| fs::write(model.join("sparse_linear.pt"), "PK").unwrap(), 1, &["model/sparse_linear.pt: "]);
}

#[test]
fn texts_that_do_not_fit_the_model() {
    let (place, recipe) = scene(2);
    let long = place.path("long.safetensors");
    TokenBatch::even(1, 2, 2, (8, 40), 64).write(&long);
    let foreign = place.path("foreign.safetensors");
    TokenBatch::even(1, 2, 2, (8, 16), 1000).write(&foreign);
    let model = golden("nano_xlmr/hf");
    for ranks in [1, 2] {
        let words = ["a text of 40 tokens is longer than the model's limit of 32", "lower data.passage_max_len"];
        step(&model, ranks).arg("--tokens").arg(&long).run().fails_with(2, &words);
        let words = ["does not fit the model's vocabulary of 64", "another model's tokenizer"];
        step(&model, ranks).arg("--tokens").arg(&foreign).run().fails_with(2, &words);

        let longer = ["data.passage_max_len=60", "data.length_groups=[{max_len=60,global_batch=4}]"];
        let run = train(&recipe, ranks).set(longer[0]).set(longer[1]).run();
        run.fails_with(2, &["60 tokens", "longer than the model's limit of 32", "model.max_position_embeddings to 62"]);
        let store = place.store(&format!("other-{ranks}"), [4; 16], 90);
        let run = train(&recipe, ranks).set(format!("data.store={}", store.display())).run();
        run.fails_with(2, &["does not fit the model's vocabulary of 64", "another model's tokenizer"]);
    }
}

/// The model's tokenizer is the one beside it, or the one that the recipe names, or the checkpoint's.
#[test]
fn a_store_of_another_tokenizer() {
    let (place, recipe) = scene(4);
    let other = place.store("other", [4; 16], 60);
    let hash = |store: &str| {
        let manifest = fs::read_to_string(place.path(store).join("manifest.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&manifest).unwrap()["tokenizer_hash"].as_str().unwrap().to_owned()
    };
    let (own_hash, other_hash) = (hash("rows"), hash("other"));
    assert_ne!(own_hash, other_hash);
    let model = place.copy(&golden("nano_xlmr/hf"), "model");
    fs::copy(place.path("other-tokenizer.json"), model.join("tokenizer.json")).unwrap();

    let beside = |ranks: usize| train(&recipe, ranks).set(format!("model.path={}", model.display()));
    let remedy = format!("prepare the rows again with --tokenizer {}", model.join("tokenizer.json").display());
    for ranks in [1, 2] {
        let words = ["/rows holds the token ids of another tokenizer", &own_hash, &other_hash, &remedy];
        beside(ranks).run().fails_with(2, &words);
    }

    let named = || beside(1).set(format!("model.tokenizer={}", place.path("rows-tokenizer.json").display()));
    named().succeed();
    fs::remove_dir_all(place.path("run/step-00000004")).unwrap();
    fs::remove_dir_all(place.path("rows")).unwrap();
    fs::rename(other, place.path("rows")).unwrap();
    let words = ["step-00000002/model/tokenizer.json has ", &own_hash, &other_hash];
    named().arg("--resume").run().fails_with(2, &words);
}

#[test]
fn rows_that_are_none() {
    let place = Place::new();
    let tokenizer = place.word_tokenizer("tokenizer.json", 64);
    let good = r#"{"query": "w4", "pos": ["w5"], "neg": ["w6"]}"#;
    for (bad, reason) in [
        (r#"{"query": "  ", "pos": ["w5"], "neg": ["w6"]}"#, "\"query\" has no text"),
        (r#"{"query": "w4", "pos": ["w5", ""], "neg": ["w6"]}"#, "\"pos[1]\" has no text"),
        (r#"{"query": "w4", "pos": [], "neg": ["w6"]}"#, "\"pos\" is empty: a row needs at least one positive"),
        (r#"{"query": "w4", "neg": ["w6"]}"#, "\"pos\" is missing"),
        (r#"{"query": "w4", "pos": ["w5"], "neg": ["#, "not valid JSON"),
    ] {
        let rows = place.write("rows.jsonl", &format!("{good}\n{bad}\n{good}\n"));
        let prepare = || {
            let command = Tercet::new("prepare").arg("--tokenizer").arg(&tokenizer);
            command.arg("--out").arg(place.path("store")).arg(format!("rows={}", rows.display()))
        };
        prepare().run().fails_with(4, &["rows.jsonl:2: ", reason]);
        assert!(!place.path("store/manifest.json").exists(), "no store of half the rows");

        let skipped = prepare().arg("--on-error").arg("skip").run();
        assert_eq!(skipped.code, Some(0), "{}", skipped.stderr());
        let words = skipped.stdout.clone() + &skipped.stderr();
        assert!(words.contains("rows.jsonl:2: ") && words.contains(reason), "{words}");
        fs::remove_dir_all(place.path("store")).unwrap();

        let model = place.copy(&golden("nano_xlmr/hf"), "model");
        fs::copy(&tokenizer, model.join("tokenizer.json")).unwrap();
        step(&model, 2).arg("--rows").arg(&rows).run().fails_with(4, &["rows.jsonl:2: ", reason]);
    }
    Tercet::new("prepare")
        .arg("--tokenizer")
        .arg(place.path("none.json"))
        .arg("--out")
        .arg(place.path("store"))
        .arg(format!("rows={}", place.path("rows.jsonl").display()))
        .run()
        .fails_with(2, &["none.json"]);
}

#[test]
fn batches_that_the_ranks_cannot_share() {
    let (place, recipe) = scene(2);
    let size = |n: usize| format!("data.length_groups=[{{max_len=32,global_batch={n}}}]");
    let smaller = train(&recipe, 3).set(size(2)).run();
    smaller.fails_with(2, &["global_batch 2", "3 ranks cannot share equally", "use 3"]);
    let uneven = train(&recipe, 2).set(size(5)).run();
    uneven.fails_with(2, &["global_batch 5", "2 ranks cannot share equally", "use 4 or 6"]);
    let none = train(&recipe, 2).set(size(1000)).run();
    none.fails_with(2, &["no data set fills a global batch", "1000"]);

    let tokens = place.path("one.safetensors");
    TokenBatch::even(1, 1, 2, (8, 16), 64).write(&tokens);
    let words = ["1 rows for 2 ranks", "at least one row per rank"];
    step(&golden("nano_xlmr/hf"), 2).arg("--tokens").arg(&tokens).run().fails_with(2, &words);
}

#[test]
fn a_run_folder_that_holds_a_run() {
    let (place, recipe) = scene(2);
    train(&recipe, 1).succeed();
    let history = fs::read(place.path("run/metrics.jsonl")).unwrap();
    for ranks in [1, 2] {
        let words = ["run already holds a run", "--resume continues it", "--set run_dir="];
        train(&recipe, ranks).run().fails_with(2, &words);
    }
    assert_eq!(fs::read(place.path("run/metrics.jsonl")).unwrap(), history, "untouched");
    let other = train(&recipe, 1).set("optimizer.learning_rate=0.5").arg("--resume").run();
    other.fails_with(2, &["written by another recipe", "optimizer.learning_rate"]);
}

/// As one that ended before its first checkpoint leaves it.
#[test]
fn a_run_folder_that_holds_a_history_without_checkpoints() {
    let (place, recipe) = scene(2);
    train(&recipe, 1).succeed();
    fs::remove_dir_all(place.path("run/step-00000002")).unwrap();
    let history = fs::read(place.path("run/metrics.jsonl")).unwrap();
    train(&recipe, 2).run().fails_with(2, &["run already holds a run", "--resume continues it"]);
    assert_eq!(fs::read(place.path("run/metrics.jsonl")).unwrap(), history, "untouched");
    train(&recipe, 1).arg("--resume").succeed();
}

/// A training run whose run folder is a file system of its own of `size`; what was in that at the end.
fn train_on_a_small_disk(size: &str, ranks: usize, settings: &[&str]) -> (Ended, String) {
    let (place, recipe) = scene(300);
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    let script = r#"mount -t tmpfs -o size=$1 tmpfs "$2" && shift && disk=$1 && shift && "$@"; code=$?
                    ls -A "$disk" > "$disk.files"; exit $code"#;
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", script, "sh", size]).arg(&disk).arg(program("tercet")).arg("train");
    shell.arg(&recipe).args(["-n", &ranks.to_string(), "--set", &format!("run_dir={}", disk.display())]);
    settings.iter().for_each(|setting| _ = shell.args(["--set", setting]));
    let ended = Tercet::through(shell, ranks).run();
    (ended, fs::read_to_string(place.path("disk.files")).unwrap())
}

/// An index on a file system of its own of `size`, and again on one that is larger.
#[test]
fn a_disk_that_fills_up_while_an_index_is_written() {
    if !may_mount("a_disk_that_fills_up_while_an_index_is_written") {
        return;
    }
    let place = Place::new();
    let model = place.copy(&golden("nano_xlmr/hf"), "model");
    place.word_tokenizer("model/tokenizer.json", 64);
    let passage = |i: usize| format!("{{\"_id\": \"d{i}\", \"text\": \"w{} w{}\"}}\n", 4 + i % 60, 4 + i % 7);
    let corpus = place.write("corpus.jsonl", &(0..2000).map(passage).collect::<String>());
    let disk = place.path("disk");
    fs::create_dir(&disk).unwrap();
    for ranks in [1, 2] {
        // Some of the blocks fit in, and go on where there is room.
        let script = r#"mount -t tmpfs -o size=100k tmpfs "$1" && disk=$1 && shift && "$@"; code=$?
                        ls -A "$disk/index/blocks" > "$disk.files"; mount -o remount,size=10m "$disk"
                        "$@" > "$disk.out" 2>&1; echo $? > "$disk.code"; exit $code"#;
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-c", script, "sh"]).arg(&disk).arg(program("tercet")).arg("index");
        shell.arg("--model").arg(&model).arg("--corpus").arg(&corpus).arg("--out").arg(disk.join("index"));
        let ended = Tercet::through(shell, ranks).arg("-n").arg(ranks.to_string()).run();
        ended.fails_with(3, &["blocks/00000", "No space left on device"]);
        // What another rank was ended over may be there as well, under the name that it is written by.
        let left = fs::read_to_string(place.path("disk.files")).unwrap();
        assert!(left.lines().any(|name| name.ends_with(".safetensors")), "{left}");
        let said = fs::read_to_string(place.path("disk.out")).unwrap();
        assert_eq!(fs::read_to_string(place.path("disk.code")).unwrap().trim(), "0", "{said}");
        assert!(said.contains("blocks are there already") && said.contains("2000 passages"), "{said}");
    }
}

fn may_mount(test: &str) -> bool {
    let may = Command::new("unshare").args(["--mount", "true"]).output().is_ok_and(|o| o.status.success());
    if !may {
        eprintln!("SKIPPED: {test} needs the right to mount (root), which this user lacks");
    }
    may
}

#[test]
fn a_disk_that_fills_up_while_a_checkpoint_is_written() {
    if !may_mount("a_disk_that_fills_up_while_a_checkpoint_is_written") {
        return;
    }
    for ranks in [1, 2] {
        // One checkpoint of the golden model and what a run writes besides fit in; three do not.
        let (ended, files) = train_on_a_small_disk("300k", ranks, &["checkpoint.keep=0"]);
        let words = ["writing checkpoint", "No space left on device", "checkpoints before it are intact", "free space"];
        ended.fails_with(3, &words);
        // The one before is there; nothing is left of the other.
        let checkpoints: Vec<&str> = files.lines().filter(|name| name.contains("step-")).collect();
        assert!(!checkpoints.is_empty(), "{files}");
        assert!(checkpoints.iter().all(|name| name.starts_with("step-")), "{files}");
    }
}

/// Room may be made meanwhile, so it is tried again, but only as often as the recipe says.
#[test]
fn a_disk_that_stays_full_ends_the_run() {
    if !may_mount("a_disk_that_stays_full_ends_the_run") {
        return;
    }
    let (ended, files) = train_on_a_small_disk("300k", 2, &["checkpoint.keep=0", "restart.limit=2"]);
    let text = ended.stderr();
    assert_eq!(ended.code, Some(3), "{text}");
    assert_eq!(text.matches("No space left on device").count(), 3, "{text}");
    assert!(text.contains("restart 2 of 2 without a new checkpoint: giving up\nto go on: "), "{text}");
    let checkpoints: Vec<&str> = files.lines().filter(|name| name.contains("step-")).collect();
    assert_eq!(checkpoints, ["step-00000002"], "{files}");
    println!("{text}");
}

/// With room for a few steps' figures, for one step's, and for not even the resolved recipe.
#[test]
fn a_disk_that_fills_up_while_figures_are_written() {
    if !may_mount("a_disk_that_fills_up_while_figures_are_written") {
        return;
    }
    for (size, file, ranks) in [("24k", "metrics.jsonl", 1), ("16k", "metrics.jsonl", 2), ("4k", "", 1)] {
        let (ended, _) = train_on_a_small_disk(size, ranks, &["checkpoint.every_steps=0"]);
        ended.fails_with(3, &["No space left on device", file]);
    }
}

/// A rank of a training run is killed, as the kernel does when memory runs out.
#[test]
fn a_rank_that_is_killed() {
    for victim in [0, 1] {
        let (place, recipe) = scene(1_000_000);
        let mut run = train(&recipe, 2).start();
        let metrics = place.path("run/metrics.jsonl");
        run.wait_until("step", |_| fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
        let workers = run.wait_for_processes("tercet-worker", 2);
        send(workers[victim], libc::SIGKILL);
        run.wait().fails_with(3, &["was ended by signal 9", "rank "]);
    }
}
