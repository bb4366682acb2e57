//! Ranks whose weights have parted are found and named, and no checkpoint is taken of them.

#![allow(clippy::unwrap_used)]

use tercet_tests::scene::{Scene, assert_same_run};

const STEPS: u64 = 6;
/// Batches that three ranks share equally.
const GROUPS: &str = "data.length_groups=[{ max_len = 20, global_batch = 6 }, { max_len = 64, global_batch = 3 }]";

#[test]
fn a_rank_with_other_weights_is_named_before_they_are_saved() {
    let scene = Scene::new(STEPS, 2);
    // One bit of one weight, where no checkpoint is due: the next one is not taken.
    let parted = scene.train("parted", 3).set(GROUPS).env("TERCET_TEST_OTHER_WEIGHTS", "3:1").set("restart.limit=0");
    let expected = ["the weights are not the same on all ranks, after step 4: rank 1 (", "the 2 that agree"];
    parted.run().fails_with(3, &expected);
    assert!(scene.checkpoint("parted", 2).exists() && !scene.checkpoint("parted", 4).exists());
    // What was saved before is good.
    scene.train("parted", 3).set(GROUPS).arg("--resume").succeed();
    scene.train("whole", 3).set(GROUPS).succeed();
    assert_same_run(&scene, "parted", "whole", STEPS);
}
