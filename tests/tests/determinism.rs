//! The same recipe, seed and world give the same bits, on every run and wherever it was interrupted.

#![allow(clippy::unwrap_used)]

use std::fs;

use tercet_tests::scene::{Scene, assert_same_run, metrics};

const STEPS: u64 = 16;

#[test]
fn the_same_run_twice() {
    let scene = Scene::new(STEPS, 5);
    for ranks in [1, 2] {
        let [first, second] = ["first", "second"].map(|name| format!("{name}-{ranks}"));
        scene.train(&first, ranks).succeed();
        scene.train(&second, ranks).succeed();
        assert_same_run(&scene, &second, &first, STEPS);
    }
    // What makes the comparison worth something: another seed is another run.
    scene.train("other", 1).set("seed=7").succeed();
    let weights = |run: &str| fs::read(scene.checkpoint(run, STEPS).join("model/model.safetensors")).unwrap();
    assert_ne!(weights("other"), weights("first-1"));
}

#[test]
fn a_run_resumes_in_the_middle_of_an_epoch_and_across_its_end() {
    let scene = Scene::new(STEPS, 1);
    for ranks in [1, 2] {
        let whole = format!("whole-{ranks}");
        scene.train(&whole, ranks).succeed();
        let epochs: Vec<u64> =
            metrics(&scene.place.path(&whole)).iter().map(|step| step["epoch"].as_u64().unwrap()).collect();
        // Steps done, where the next one belongs to the same epoch, and where it begins another.
        let between = |same: bool| (2..STEPS - 1).find(|&s| (epochs[s as usize - 1] == epochs[s as usize]) == same);
        for done in [between(true), between(false)].map(Option::unwrap) {
            let name = format!("from-{done}-{ranks}");
            scene.copy_until(&whole, done, &name);
            scene.train(&name, ranks).arg("--resume").succeed();
            assert_same_run(&scene, &name, &whole, STEPS);
        }
    }
}
