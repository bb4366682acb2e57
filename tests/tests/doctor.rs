//! `tercet doctor` and the checks that every run begins with, on real ranks. What is wrong with a rank here is really
//! wrong: another program, another store, a folder that takes nothing.

#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tercet_tests::place::Place;
use tercet_tests::program::{Ended, Tercet, program};
use tercet_tests::scene::Scene;

fn doctor(scene: &Scene, ranks: usize) -> Tercet {
    let run_dir = scene.place.path("run");
    Tercet::new("doctor").arg(&scene.recipe).ranks(ranks).set(format!("run_dir={}", run_dir.display()))
}

/// One rank for each of `programs`, in a folder of its own, as one job.
fn together(words: &[&OsStr], programs: &[(&Path, &Path)]) -> Ended {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["--allow-run-as-root", "--oversubscribe"]);
    for (i, (program, folder)) in programs.iter().enumerate() {
        mpirun
            .args(if i > 0 { &[":"][..] } else { &[] })
            .args(["-n", "1", "-wdir"])
            .arg(folder)
            .arg(program)
            .args(words);
    }
    Tercet::through(mpirun, programs.len()).run()
}

/// The findings of rank 0's report that end a run, as (machine, text).
fn sick(ended: &Ended) -> Vec<String> {
    let report: Value = serde_json::from_str(ended.stdout.lines().next().unwrap()).unwrap();
    let sick = report["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "sick");
    sick.map(|finding| finding["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_healthy_machine_is_measured_and_nothing_is_left() {
    let scene = Scene::new(4, 0);
    for ranks in [1, 2, 3] {
        let text = doctor(&scene, ranks).arg("--json").arg(scene.place.path("doctor.json")).succeed();
        assert!(text.contains("libtorch 2.") && text.contains("product a rank"), "{text}");
        assert!(text.contains("fit"), "{text}");
        let report: Value = serde_json::from_slice(&fs::read(scene.place.path("doctor.json")).unwrap()).unwrap();
        assert_eq!(report["ranks"].as_array().unwrap().len(), ranks);
        let links = report["network"]["links"].as_array().unwrap();
        assert_eq!(links.len(), if ranks == 1 { 0 } else { ranks });
        assert!(links.iter().all(|link| link["bytes_per_sec"].as_f64().unwrap() > 1e6), "{links:?}");
        assert!(report["ranks"][0]["machine"]["folder"]["write_bytes_per_sec"].as_f64().unwrap() > 0.0);
        assert!(!scene.place.path("run").exists(), "only looked at");
    }
    let names: Vec<_> = fs::read_dir(scene.place.path("")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".tercet")), "{names:?}");
    let bare = Tercet::new("doctor").ranks(2).arg("--json").arg("-").succeed();
    assert_eq!(serde_json::from_str::<Value>(&bare).unwrap()["world_size"], 2);
}

#[test]
fn another_program_on_one_rank_is_named_and_no_run_begins() {
    let scene = Scene::new(2, 0);
    let worker = program("tercet-worker");
    let copy = scene.place.path("tercet-worker");
    // A byte behind the end changes nothing but the file.
    let mut bytes = fs::read(&worker).unwrap();
    bytes.push(0);
    fs::copy(&worker, &copy).unwrap();
    fs::write(&copy, bytes).unwrap();
    let folder = scene.place.path("");
    let programs = [(worker.as_path(), folder.as_path()), (&worker, &folder), (&copy, &folder)];
    let run_dir = format!("run_dir={}", scene.place.path("run").display());
    let words = |task| {
        [OsStr::new(task), scene.recipe.as_os_str(), OsStr::new("--set"), OsStr::new(&run_dir)].map(OsStr::to_owned)
    };
    let borrowed =
        |words: &[std::ffi::OsString]| together(&words.iter().map(|w| w.as_os_str()).collect::<Vec<_>>(), &programs);
    let ended = borrowed(&words("doctor"));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr());
    let sick = sick(&ended);
    assert!(sick.len() == 1 && sick[0].starts_with("rank 2: the program is "), "{sick:?}");
    let ended = borrowed(&words("train"));
    assert_eq!(ended.code, Some(3), "{}", ended.stderr());
    assert!(ended.stderr().contains("rank 2: the program is "), "{}", ended.stderr());
    assert!(!scene.place.path("run").exists());
}

#[test]
fn another_store_or_none_on_one_rank_is_named() {
    let place = Place::new();
    let folders = ["a", "b", "c"].map(|name| place.path(name));
    folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    for (name, shortest) in [("a", 3), ("b", 4)] {
        let store = place.store(&format!("store-{name}"), (0..20).map(|i| shortest + i % 7), 50);
        fs::rename(store, place.path(name).join("store")).unwrap();
    }
    let recipe = place.write("recipe.toml", "name = \"t\"\nsteps = 1\n[data]\nstore = \"store\"\n");
    let worker = program("tercet-worker");
    let [a, b, c] = folders.each_ref().map(|folder| (worker.as_path(), folder.as_path()));
    let words = [OsStr::new("doctor"), recipe.as_os_str()];
    let other = together(&words, &[a, a, b]);
    assert_eq!((other.code, sick(&other).len()), (Some(3), 1), "{}", other.stderr());
    assert!(sick(&other)[0].starts_with("rank 2: the token store is "), "{:?}", sick(&other));
    let none = together(&words, &[a, c]);
    assert_eq!(none.code, Some(3), "{}", none.stderr());
    assert!(sick(&none)[0].starts_with("rank 1: the token store is not there"), "{:?}", sick(&none));
    let nowhere = together(&words, &[c, c]);
    assert_eq!((nowhere.code, sick(&nowhere).len()), (Some(2), 0), "{}", nowhere.stdout);
}

#[test]
fn a_run_folder_that_takes_nothing_ends_a_run_before_it_begins() {
    let scene = Scene::new(2, 0);
    let file = scene.place.write("file", "");
    let setting = format!("run_dir={}/run", file.display());
    let ended = Tercet::new("doctor").arg(&scene.recipe).ranks(2).set(&setting).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr());
    assert!(
        ended.stdout.contains("mistake") && ended.stdout.contains("nothing can be written there"),
        "{}",
        ended.stdout
    );
    let train = Tercet::new("train").arg(&scene.recipe).ranks(2).set(&setting).run();
    train.fails_with(2, &["nothing can be written there", "is not a folder", "tercet doctor"]);
}

#[test]
fn a_recipe_that_is_wrong_everywhere_is_a_mistake() {
    let place = Place::new();
    let recipe = place.write("recipe.toml", "name = \"t\"\nstep = 1\n");
    let ended = Tercet::new("doctor").arg(&recipe).ranks(2).run();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr());
    assert!(ended.stdout.contains("mistake: all machines") && ended.stdout.contains("did you mean `steps`?"));
}
