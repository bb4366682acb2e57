//! A run that was stopped and resumed is the run that was not stopped; with other ranks, it has the same batches.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use tercet_tests::compare::{close, number};
use tercet_tests::hold::Hold;
use tercet_tests::place::copy_folder;
use tercet_tests::program::send;
use tercet_tests::scene::{Scene, assert_same_run, metrics};

/// Killed with SIGKILL, the launcher's child first, after a checkpoint and before the end.
#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let (steps, every) = (24, 8);
    let scene = Scene::new(steps, every);
    for ranks in [1, 2] {
        let (whole, killed) = (format!("whole-{ranks}"), format!("killed-{ranks}"));
        scene.train(&whole, ranks).succeed();

        let hold = Hold::after(every + 2, &scene.place.path(""), &format!("go-{ranks}"));
        let mut run = hold.on(scene.train(&killed, ranks)).set("restart.limit=0").start();
        hold.wait(&mut run, ranks);
        let first = scene.checkpoint(&killed, every);
        run.wait_until("checkpoint", |_| first.exists());
        let workers = run.wait_for_ranks(ranks);
        // Ranks outlive mpirun by a second, and one that is asked to stop does not wait.
        workers.iter().for_each(|rank| send(*rank, libc::SIGSTOP));
        let victim = if ranks == 1 { workers[0] } else { run.wait_for_processes("mpirun", 1)[0] };
        send(victim, libc::SIGKILL);
        run.wait().fails_with(3, &["signal 9"]);
        assert!(!scene.checkpoint(&killed, steps).exists(), "the run was over before it could be killed");

        scene.train(&killed, ranks).arg("--resume").succeed();
        assert_same_run(&scene, &killed, &whole, steps);
    }
}

/// Beginning anew would cut the run's history off and write over what may still be saved.
#[test]
fn a_run_without_any_good_checkpoint_is_refused() {
    let scene = Scene::new(6, 2);
    scene.train("whole", 1).succeed();
    scene.copy_until("whole", 2, "damaged");
    flip_a_byte(&scene.checkpoint("damaged", 2));
    let ended = scene.train("damaged", 1).arg("--resume").run();
    ended.fails_with(4, &["no checkpoint of", "can be used", "its checksum differs"]);
}

/// Every file of a checkpoint is checked before it is used: what is torn is refused by name, the one before is taken.
#[test]
fn a_torn_checkpoint_is_refused_and_the_one_before_is_used() {
    let scene = Scene::new(6, 2);
    scene.train("whole", 1).succeed();
    type Damage = fn(&Path);
    let damages: [(&str, Damage, &str); 4] = [
        ("truncated", truncate, "model/model.safetensors: has "),
        ("altered", flip_a_byte, "train/optimizer.safetensors: its checksum differs"),
        ("unfinished", |path| fs::remove_file(path.join("manifest.json")).unwrap(), "manifest.json: "),
        ("emptied", |path| fs::remove_dir_all(path.join("train")).unwrap(), "train/optimizer.safetensors: "),
    ];
    for (name, damage, reason) in damages {
        scene.copy_until("whole", 4, name);
        let torn = scene.checkpoint(name, 4);
        damage(&torn);
        scene.train(name, 1).arg("--resume").succeed();

        let log = fs::read_to_string(scene.place.path(name).join("train.log")).unwrap();
        let refused = format!("{}: {reason}", torn.display());
        assert!(log.contains(&refused) && log.contains("trying the one before"), "{name}: {log}");
        assert!(log.contains("steps 3 to 6"), "{name}: resumed from step 2: {log}");
        // The refused checkpoint has been written again.
        assert_same_run(&scene, name, "whole", 6);
    }
}

fn truncate(checkpoint: &Path) {
    let file = fs::OpenOptions::new().write(true).open(checkpoint.join("model/model.safetensors")).unwrap();
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
}

fn flip_a_byte(checkpoint: &Path) {
    let path = checkpoint.join("train/optimizer.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
}

/// Another world size goes on with the same global batches. Dropout is off: its masks depend on which rank has a text.
///
/// In float64, so that the losses differ by more than rounding only if the batches or the weights do: AdamW makes of a
/// gradient that is all rounding a step as large as any other, but only where the loss does not see it.
#[test]
fn other_ranks_resume_with_the_same_batches() {
    let scene = Scene::new(8, 4);
    let train = |run: &str, ranks| scene.train(run, ranks).set("model.dropout=0").set("precision=fp64");
    train("whole", 1).succeed();
    let expected = metrics(&scene.place.path("whole"));
    let groups: std::collections::HashSet<u64> = expected.iter().map(|s| s["length_group"].as_u64().unwrap()).collect();
    assert_eq!(groups.len(), 2, "both length groups are in play");

    train("two", 2).succeed();
    for (from, ranks) in [("whole", 2), ("whole", 4), ("two", 1)] {
        let name = format!("{from}-then-{ranks}");
        scene.copy_until(from, 4, &name);
        train(&name, ranks).arg("--resume").succeed();
        let found = metrics(&scene.place.path(&name));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            for key in ["step", "epoch", "dataset", "length_group", "tokens", "learning_rate"] {
                assert_eq!(found[key], expected[key], "{name}: {key} of step {}", expected["step"]);
            }
            close(&format!("{name}: loss"), number(&found["loss"]), number(&expected["loss"]), 1e-5);
        }
    }
}

/// A run folder can be moved, and then resumed where it is now.
#[test]
fn a_moved_run_resumes() {
    let scene = Scene::new(4, 2);
    scene.train("here", 1).succeed();
    let there = scene.copy_until("here", 2, "there");
    fs::remove_file(there.join("recipe.toml")).unwrap();
    copy_folder(&there, &scene.place.path("moved"));
    scene.train("moved", 1).arg("--resume").succeed();
    assert_same_run(&scene, "moved", "here", 4);
}

/// Positions are added to the recipe's model, and not once more to that of a checkpoint, which has them.
#[test]
fn a_run_that_adds_positions_resumes_to_the_same_bits() {
    let scene = Scene::new(4, 2);
    scene.train("first", 1).succeed();
    let recipe = fs::read_to_string(&scene.recipe).unwrap();
    let fresh = format!("model.config = {:?}", scene.place.path("model/config.json"));
    assert!(recipe.contains(&fresh), "{recipe}");
    let from = format!("model.path = {:?}", scene.checkpoint("first", 4).join("model"));
    let longer = scene.place.write("longer.toml", &recipe.replace(&fresh, &from));
    let longer = Scene { recipe: longer, ..scene };
    for positions in ["hierarchical", "fresh"] {
        let train = |run: &str| {
            let run = longer.train(run, 1).set("model.max_position_embeddings=300");
            run.set(format!("model.positions={positions}"))
        };
        let (whole, resumed) = (format!("{positions}-whole"), format!("{positions}-resumed"));
        train(&whole).succeed();
        longer.copy_until(&whole, 2, &resumed);
        train(&resumed).arg("--resume").succeed();
        assert_same_run(&longer, &resumed, &whole, 4);
    }
}

/// Old checkpoints go while the run goes on, also the one that it was resumed from: what the next ones take from the
/// model directory is not lost with it.
#[test]
fn a_resumed_run_keeps_its_tokenizer_when_the_checkpoint_it_came_from_is_gone() {
    let scene = Scene::new(6, 1);
    scene.train("run", 1).succeed();
    scene.copy_until("run", 2, "resumed");
    scene.train("resumed", 1).set("checkpoint.keep=1").arg("--resume").succeed();
    assert!(!scene.checkpoint("resumed", 2).exists());
    let files = |run: &str| {
        let entries = fs::read_dir(scene.checkpoint(run, 6).join("model")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(files("resumed"), files("run"));
    assert!(files("run").contains(&"tokenizer.json".into()));
}
