//! A command that is killed at any of its operations on files can be typed again: it goes on or begins anew, the result
//! is that of an undisturbed one, and nothing of it is in its own way.
//!
//! What differs from one moment to the next is what has been done to files until then. So every operation is a moment,
//! and no test here waits for one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::json;
use tercet_tests::killer::{Killer, Strike};
use tercet_tests::place::{Place, copy_folder, golden, topic_rows};
use tercet_tests::program::{Tercet, program};
use tercet_tests::scene::{Scene, VOCABULARY, assert_same_run};

/// More operations than any of these commands has.
const MANY: usize = 1000;

/// Every file and folder below `dir`, with its content.
fn snapshot(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, Vec::new());
                dirs.push(path);
            } else {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// An empty folder of that name.
fn emptied(place: &Place, name: &str) -> std::path::PathBuf {
    let folder = place.path(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir(&folder).unwrap();
    folder
}

/// `tercet WORDS` in `place`, which needs no ranks, killed as `strike` says; `out` is where it writes.
fn short(place: &Place, words: &str, strike: Option<(&Killer, Strike)>) -> Output {
    let mut command = Command::new(program("tercet"));
    command.args(words.split_whitespace()).current_dir(place.path(""));
    if let Some((killer, strike)) = strike {
        command.envs(killer.variables(&place.path("out"), strike));
    }
    command.output().unwrap()
}

/// Kills a short command at every operation, types it again, and compares; how many times it was killed. `code` is what
/// it ends with.
fn walk(place: &Place, words: &str, code: i32) -> usize {
    walk_of("tercet", place, words, code)
}

/// The same, where `tercet` becomes the program of that name.
fn walk_of(program: &'static str, place: &Place, words: &str, code: i32) -> usize {
    let killer = Killer::new(&place.path(""));
    let out = emptied(place, "out");
    let undisturbed = short(place, words, None);
    assert_eq!(undisturbed.status.code(), Some(code), "{words}: {}", String::from_utf8_lossy(&undisturbed.stderr));
    let whole = snapshot(&out);
    for at in 1..MANY {
        emptied(place, "out");
        let killed = short(place, words, Some((&killer, Strike::at(program, at))));
        if killed.status.code() == Some(code) {
            assert_eq!(snapshot(&out), whole);
            return at - 1;
        }
        assert_eq!(killed.status.signal(), Some(libc::SIGKILL), "{}", String::from_utf8_lossy(&killed.stderr));
        if at % 3 == 0 {
            // Once more, soon after it has begun to go on.
            short(place, words, Some((&killer, Strike::at(program, 1 + at % 11))));
        }
        let ended = short(place, words, None);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(code), "{words}: after a kill at operation {at}: {said}");
        let found = snapshot(&out);
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&whole), "{words}: after a kill at operation {at}");
        let differ: Vec<_> = whole.keys().filter(|name| found[*name] != whole[*name]).collect();
        assert!(differ.is_empty(), "{words}: after a kill at operation {at}: {differ:?} differ");
    }
    panic!("{words}: does not end");
}

/// Some good rows, some twice, and a malformed line here and there.
fn write_rows(place: &Place, name: &str, num_rows: usize) {
    let lens = (0..num_rows).map(|i| 1 + i % 5);
    let mut text = String::new();
    for (i, row) in topic_rows(lens, VOCABULARY).iter().enumerate() {
        text += &format!("{row}\n");
        text += if i % 4 == 3 { "{\"query\": 3}\n" } else { "" };
        text += &if i % 5 == 4 { format!("{row}\n") } else { String::new() };
    }
    place.write(name, &text);
}

#[test]
fn prepare() {
    let place = Place::new();
    place.word_tokenizer("tokenizer.json", VOCABULARY);
    write_rows(&place, "a.jsonl", 9);
    write_rows(&place, "b.jsonl", 3);
    let prepare = "prepare --tokenizer tokenizer.json --drop-duplicates --out out/new/store";
    let kills = walk(&place, &format!("{prepare} --rows-per-shard 7 --on-error skip a.jsonl b.jsonl"), 0);
    assert!(kills > 120, "{kills}");
    // One that fails: here it is the removing of what it has written that is interrupted.
    emptied(&place, "out");
    let killer = Killer::new(&place.path(""));
    for at in 1..MANY {
        let killed = short(&place, &format!("{prepare} a.jsonl"), Some((&killer, Strike::at("tercet", at))));
        if killed.status.code() == Some(4) {
            return assert!(at > 5, "{at}");
        }
        // Whatever it has left, the same command fails in the same way, and is not refused because of it.
        let ended = short(&place, &format!("{prepare} a.jsonl"), None);
        assert_eq!(ended.status.code(), Some(4), "{at}: {}", String::from_utf8_lossy(&ended.stderr));
        emptied(&place, "out");
    }
}

/// Two sources, each of which has rows of the other and of the benchmark.
#[test]
fn curate() {
    let place = Place::new();
    let words = |n: usize| (0..30).map(|i| format!("w{}", n * 100 + i)).collect::<Vec<_>>().join(" ");
    let lines = |key: &str, numbers: &[usize]| {
        let line = |n: &usize| json!({key: format!("title {n}"), "text": words(*n)}).to_string() + "\n";
        numbers.iter().map(line).collect::<String>()
    };
    place.write("a.jsonl", &lines("title", &[1, 2, 3, 1, 9]));
    place.write("b.jsonl", &(lines("title", &[4, 2]) + "{\"title\": \"no text\", \"text\": \"\"}\n"));
    place.write("eval/corpus.jsonl", &lines("_id", &[9]));
    place.write("eval/queries.jsonl", "{\"_id\": \"q\", \"text\": \"another\"}\n");
    let source =
        |name: &str| format!("[[source]]\nname = {name:?}\nkind = \"title-body\"\nfiles = [\"{name}.jsonl\"]\n");
    place.write("curate.toml", &(source("a") + &source("b") + "[duplicates]\nagainst = [\"eval\"]\n"));
    let kills = walk_of("tercet-curate", &place, "curate curate.toml --out out/new -j 1", 0);
    assert!(kills > 100, "{kills}");
}

/// What `make demo` does before the commands of `tercet`. It begins anew, and what it finds is moved aside.
#[test]
fn demo() {
    let place = Place::new();
    let words = |i: usize| (0..20).map(|j| format!("w{}", (i * 7 + j * j) % 300)).collect::<Vec<_>>().join(" ");
    let line = |i: usize| json!({"query": format!("what is w{i}"), "pos": [words(i)]}).to_string() + "\n";
    place.write("corpus/a.jsonl", &(0..300).map(line).collect::<String>());
    let killer = Killer::new(&place.path(""));
    let demo = |strike: Option<Strike>| {
        let mut command = Command::new(program("tercet-demo"));
        command.args(["--text-only", "--corpus", "corpus", "--pieces", "600", "--out", "out/demo"]);
        command.envs(strike.map(|strike| killer.variables(&place.path("out"), strike)).into_iter().flatten());
        command.current_dir(place.path("")).output().unwrap()
    };
    emptied(&place, "out");
    assert!(demo(None).status.success());
    let whole = snapshot(&place.path("out/demo"));
    for at in 1..MANY {
        emptied(&place, "out");
        let killed = demo(Some(Strike::at("tercet-demo", at)));
        if killed.status.success() {
            return assert!(at > 15, "{at}");
        }
        assert_eq!(killed.status.signal(), Some(libc::SIGKILL), "{}", String::from_utf8_lossy(&killed.stderr));
        let ended = demo(None);
        assert!(ended.status.success(), "after a kill at operation {at}: {}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(snapshot(&place.path("out/demo")), whole, "after a kill at operation {at}");
    }
}

/// Texts that are split go on inside one, and packed ones where the last row was full.
#[test]
fn prepare_texts() {
    let place = Place::new();
    place.word_tokenizer("tokenizer.json", VOCABULARY);
    let words = |n: usize| (0..n).map(|i| format!("w{}", 4 + (n * 7 + i) % 60)).collect::<Vec<_>>().join(" ");
    let lines = |lens: &[usize]| lens.iter().map(|len| words(*len) + "\n").collect::<String>();
    place.write("a.txt", &(lines(&[3, 29, 1]) + "unknown\n" + &lines(&[2, 2, 41, 1])));
    place.write("b.txt", &lines(&[5, 5, 4]));
    let prepare =
        "prepare --tokenizer tokenizer.json --out out/store --rows-per-shard 2 --on-error skip --text-max-len 9";
    for options in ["--long split", "--long split --pack", "--pack"] {
        let kills = walk(&place, &format!("{prepare} {options} --texts a=a.txt,b.txt --texts b.txt"), 0);
        assert!(kills > 120, "{kills}");
    }
}

#[test]
fn submit_and_plan() {
    let scene = Scene::new(6, 2);
    let Scene { place, recipe } = &scene;
    let recipe = recipe.display();
    let submit = format!("submit {recipe} --nodes 2 --gpus-per-node 0 --dry-run --set run_dir=out/runs/new");
    let kills = walk(place, &submit, 0);
    assert!(kills > 5, "{kills}");
    let kills = walk(place, &format!("plan {recipe} --world 2 --json out/plan.json --picture out/plan.svg"), 0);
    assert!(kills > 8, "{kills}");
}

#[test]
fn export() {
    let place = Place::new();
    copy_folder(&golden("nano_xlmr_mae/hf"), &place.path("model"));
    let model = fs::read(place.path("model/model.safetensors")).unwrap();
    let model = SafeTensors::deserialize(&model).unwrap();
    let head = model.iter().filter(|(name, _)| name.starts_with("lm_head."));
    fs::write(place.path("model/mlm_head.safetensors"), safetensors::serialize(head, None).unwrap()).unwrap();
    let kills = walk(&place, "export --layout masked-lm model out/new/model", 0);
    assert!(kills > 15, "{kills}");
}

/// A command whose ranks write into `out`, killed at each of `strikes`.
fn tasks(place: &Place, task: impl Fn() -> Tercet, strikes: &[Strike]) {
    let killer = Killer::new(&place.path(""));
    let out = emptied(place, "out");
    task().succeed();
    let whole = snapshot(&out);
    for strike in strikes {
        emptied(place, "out");
        let killed =
            killer.variables(&out, *strike).into_iter().fold(task(), |task, (name, value)| task.env(name, value));
        let ended = killed.start().wait_for_all();
        let expected = if strike.parent { None } else { Some(3) };
        assert_eq!(ended.code, expected, "{strike:?}: {}", ended.stderr());
        let again = task().run();
        // A rank that outlives its launcher by an instant may have finished.
        let finished = strike.parent && again.stderr().contains("is not overwritten");
        assert!(again.code == Some(0) || finished, "{strike:?}: {}", again.stderr());
        assert_eq!(snapshot(&out), whole, "{strike:?}");
    }
}

/// A model with a tokenizer.
fn model(scene: &Scene) -> std::path::PathBuf {
    scene.train("start", 1).set("steps=0").succeed();
    scene.checkpoint("start", 0).join("model")
}

fn at_the(only: &'static str, at: usize) -> Strike {
    Strike::at_the("tercet-worker", only, at)
}

#[test]
fn encode_and_mine() {
    let scene = Scene::new(1, 0);
    let (place, model) = (&scene.place, model(&scene));
    place.write("texts.txt", "w4 w5\nw6 w7 w8\nw9\n");
    for out in ["out/new/vectors.jsonl", "out/vectors.safetensors"] {
        let task = || {
            let task = Tercet::new("encode").arg("--model").arg(&model).arg("--input").arg(place.path("texts.txt"));
            task.arg("--out").arg(place.path(out))
        };
        let folder = usize::from(out.contains("new"));
        let mut strikes: Vec<Strike> = (1..=8 + folder).map(|at| Strike::at("tercet-worker", at)).collect();
        strikes.extend([at_the("link", 1), at_the("open", 1)].map(|strike| Strike { parent: true, ..strike }));
        tasks(place, task, &strikes);
    }
    let mine = || {
        let task = Tercet::new("mine").arg("--model").arg(&model).arg("--rows").arg(place.path("rows.jsonl"));
        task.arg("--range").arg("0-5").arg("--out").arg(place.path("out/mined.jsonl"))
    };
    // While it makes its index, while it removes it, and while it puts rows and report in their places.
    let mut strikes: Vec<Strike> = (1..=46).step_by(4).map(|at| Strike::at("tercet-worker", at)).collect();
    strikes.extend([("link", 1), ("link", 2), ("rename", 2)].map(|(only, at)| at_the(only, at)));
    strikes.extend((1..=7).map(|at| at_the("remove", at)));
    tasks(place, mine, &strikes);
}

#[test]
fn eval() {
    let scene = Scene::new(1, 0);
    let (place, model) = (&scene.place, model(&scene));
    let lines = |name: &str, of: &dyn Fn(usize) -> serde_json::Value| {
        place.write(name, &(0..6).map(|i| format!("{}\n", of(i))).collect::<String>());
    };
    lines(
        "beir/corpus.jsonl",
        &|i| json!({"_id": format!("d{i}"), "title": "", "text": format!("w{} w{}", 4 + i, 9 + i)}),
    );
    lines("beir/queries.jsonl", &|i| json!({"_id": format!("q{i}"), "text": format!("w{}", 4 + i)}));
    let judged: String = (0..6).map(|i| format!("q{i}\td{i}\t1\n")).collect();
    place.write("beir/qrels/test.tsv", &format!("query-id\tcorpus-id\tscore\n{judged}"));
    let task = || {
        let task = Tercet::new("eval").arg("--model").arg(&model).arg("--data").arg(place.path("beir"));
        task.arg("--out").arg(place.path("out/runs")).arg("--json").arg(place.path("out/figures.json"))
    };
    // Its index: settings, one block and the manifest; then five run files and the queries' figures.
    let mut strikes: Vec<Strike> = (1..=14).map(|at| Strike::at("tercet-worker", at)).collect();
    let at_its_end = [("rename", 3), ("rename", 4), ("rename", 8), ("rename", 9), ("link", 1), ("link", 2)];
    strikes.extend(at_its_end.map(|(only, at)| at_the(only, at)));
    strikes.extend([at_the("remove", 1), at_the("remove", 2)]);
    tasks(place, task, &strikes);
}

/// An index at every operation until its second block is there, and at those of its end; and a search's run files.
#[test]
fn index_and_search() {
    let scene = Scene::new(1, 0);
    let (place, model) = (&scene.place, model(&scene));
    // Three blocks.
    let passage = |i: usize| json!({"_id": format!("d{i}"), "text": format!("w{} w{}", 4 + i % 90, 4 + i % 7)});
    place.write("corpus.jsonl", &(0..600).map(|i| format!("{}\n", passage(i))).collect::<String>());
    place.write("queries.jsonl", "{\"_id\": \"q1\", \"text\": \"w5 w9\"}\n");
    let index = |out: &str| {
        let task = Tercet::new("index").arg("--model").arg(&model).arg("--corpus").arg(place.path("corpus.jsonl"));
        task.arg("--out").arg(place.path(out))
    };
    let mut strikes: Vec<Strike> = (1..=24).map(|at| Strike::at("tercet-worker", at)).collect();
    strikes.extend([("rename", 3), ("rename", 4), ("rename", 5), ("sync", 8)].map(|(only, at)| at_the(only, at)));
    strikes.push(Strike { parent: true, ..at_the("rename", 3) });
    tasks(place, || index("out/new/index"), &strikes);

    index("index").succeed();
    let search = || {
        let task = Tercet::new("search").arg("--model").arg(&model).arg("--index").arg(place.path("index"));
        task.arg("--queries").arg(place.path("queries.jsonl")).arg("--out").arg(place.path("out/runs"))
    };
    let between = [("open", 2), ("write", 2), ("rename", 1), ("rename", 4), ("link", 1), ("remove", 1)];
    tasks(place, search, &between.map(|(only, at)| at_the(only, at)));
}

/// Its checkpoints, above all: what is written, moved aside and removed when there is one more. Killed like this twice,
/// so that what the first has left is met by the second.
#[test]
fn train() {
    let scene = Scene::new(3, 1);
    let keep_one = |run: &str| scene.train(run, 1).set("checkpoint.keep=1").set("log.per_rank=true").arg("--resume");
    keep_one("whole").succeed();
    let killer = Killer::new(&scene.place.path(""));
    let run_dir = scene.place.path("killed");
    let of = |only: &'static str, at: &[usize]| at.iter().map(|at| at_the(only, *at)).collect::<Vec<_>>();
    let mut strikes =
        [of("rename", &[1, 2, 3, 4, 5]), of("remove", &[1, 9, 20]), of("mkdir", &[6]), of("sync", &[30])].concat();
    strikes.extend([of("write", &[20]), of("truncate", &[1])].concat());
    strikes.extend(of("rename", &[2, 4]).into_iter().map(|strike| Strike { parent: true, ..strike }));
    for strike in strikes {
        emptied(&scene.place, "killed");
        for _ in 0..2 {
            let run = keep_one("killed").set("restart.limit=0");
            let variables = killer.variables(&run_dir, strike);
            let ended =
                variables.into_iter().fold(run, |run, (name, value)| run.env(name, value)).start().wait_for_all();
            assert!(matches!(ended.code, None | Some(3) | Some(0)), "{strike:?}: {:?} {}", ended.code, ended.stderr());
        }
        keep_one("killed").succeed();
        assert_same_run(&scene, "killed", "whole", 3);
        let entries = fs::read_dir(&run_dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut kept: Vec<String> = entries.filter(|name| name.contains("step-")).collect();
        kept.sort();
        assert_eq!(kept, ["step-00000003"], "{strike:?}");
        let log = fs::read_to_string(run_dir.join("train.log")).unwrap();
        assert!(
            !log.contains("trying the one before"),
            "{strike:?}: a checkpoint was there that was not complete: {log}"
        );
        let ranks = fs::read_to_string(run_dir.join("ranks.jsonl")).unwrap();
        assert!(
            ranks.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
            "{strike:?}: {ranks}"
        );
    }
}

/// Writing its only checkpoint again would be a moment without one.
#[test]
fn a_run_of_no_steps_that_is_complete_is_left_alone() {
    let scene = Scene::new(0, 0);
    scene.train("run", 1).succeed();
    let manifest = scene.checkpoint("run", 0).join("manifest.json");
    let written = || fs::metadata(&manifest).unwrap().modified().unwrap();
    let before = written();
    scene.train("run", 1).arg("--resume").succeed();
    assert_eq!(written(), before);
}
