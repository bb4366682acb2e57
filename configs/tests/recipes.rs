//! Every recipe that the project ships loads, and the paper's batches divide among the paper's GPUs.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use tercet_configs::Recipe;

fn recipe(name: &str) -> Recipe {
    Recipe::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name), &[]).unwrap()
}

#[test]
fn every_shipped_recipe_loads() {
    let mut count = 0;
    let read = |folder: &str| std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let others = ["Cargo.toml", "curate.toml", "demo-eval.toml", "eval.toml"];
    for entry in read(".").chain(read("../tests/recipes")).chain(read("../pipelines/m3/mini")) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") && !others.iter().any(|other| path.ends_with(other)) {
            Recipe::load(&path, &[]).unwrap();
            count += 1;
        }
    }
    assert!(count >= 10, "{count} recipes");
}

/// What continues from a run names the checkpoint that the run ends with.
#[test]
fn recipes_that_continue_the_demo_find_its_model() {
    let stages = [
        ("demo-retromae.toml", "demo-dense.toml"),
        ("demo-dense.toml", "demo.toml"),
        ("demo-dense.toml", "stage3-rehearsal.toml"),
    ];
    for (before, name) in stages {
        let before = recipe(before);
        let model = before.run_dir.join(format!("step-{:08}/model", before.steps));
        assert_eq!(recipe(name).model.path.as_ref(), Some(&model), "{name}");
    }
}

#[test]
fn the_papers_batches_divide_among_its_gpus() {
    for (name, gpus) in [
        ("stage1.toml", 32),
        ("stage2.toml", 96),
        ("stage3.toml", 24),
        ("stage1-rehearsal.toml", 2),
        ("stage2-rehearsal.toml", 2),
        ("../tests/recipes/rehearse-96.toml", 96),
        ("../tests/recipes/rehearse-96-texts.toml", 96),
    ] {
        for group in recipe(name).data.length_groups {
            assert!(group.global_batch.is_multiple_of(gpus), "{name}: {group:?} on {gpus} ranks");
        }
    }
}
