//! A device that fails: the words and the exit code with which a run ends.

use tercet_tests::hold::Hold;
use tercet_tests::program::send;
use tercet_tests::scene::Scene;
use tercet_tests::stand_in::{Counts, StandIn};

use super::ranks::over;
use crate::faults::{BAD, Faulty};

#[test]
fn too_little_memory_is_said_with_what_to_do() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(2, 0);
    let train = scene.train("run", 1).set("kept_graph_tokens=1000000").set("precision=fp32").set("restart.limit=0");
    let ended = device.with_mib(1).under(train).run();
    ended.fails_with(3, &["GPU 0: out of memory", "CUDA out of memory. Tried to allocate", "memory_budget"]);
}

/// Words of CUDA's at a product in the middle of a step, and what the run ends with.
#[test]
fn a_cards_own_words_end_a_run_as_a_machines_failure() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(2, 0);
    for words in ["CUDA error: uncorrectable ECC error encountered", "CUDA error: unspecified launch failure"] {
        let device = device.clone().with("STAND_IN_FAIL", format!("addmm.out:20:{words}"));
        let train = scene.train("run", 1).set("precision=fp32").set("restart.limit=0");
        device.under(train).run().fails_with(3, &[words, "GPU 0", "CUDA reports late"]);
    }
}

#[test]
fn a_killed_rank_ends_the_others() {
    let Some(devices) = StandIn::new(2) else { return };
    let scene = Scene::new(6, 0);
    let hold = Hold::after(2, &scene.place.path(""), "go");
    let train = hold.on(scene.train("run", 2)).set("restart.limit=0");
    let mut running = over("nccl", &devices, train, &scene.place.path("calls")).start();
    hold.wait(&mut running, 2);
    send(running.wait_for_ranks(2)[1], libc::SIGKILL);
    hold.release();
    running.wait().fails_with(3, &["signal 9"]);
}

/// The weights and the optimizer's state are read into the memory that they have: beside them a device of a large model
/// has no room for others.
#[test]
fn rolling_back_takes_no_more_of_the_device_than_steps_do() {
    let Some(device) = StandIn::new(1) else { return };
    let most = |bad: &[usize]| {
        let faulty = Faulty::new(bad, 2);
        let counts = faulty.scene.place.path("counts");
        let train = faulty.train("run", 1).set("faults.max_in_a_row=1").set("faults.then=roll_back");
        device.clone().with("STAND_IN_COUNTS", &counts).under(train.set("precision=fp32")).succeed();
        (Counts::read(&counts).most_bytes(0), faulty.log("run").matches("rolled back").count())
    };
    let ((undisturbed, none), (rolled, some)) = (most(&[]), most(&BAD));
    println!("{undisturbed} bytes undisturbed, {rolled} with {some} roll-backs");
    assert!(none == 0 && some > 0 && rolled <= undisturbed, "{some} roll-backs: {rolled} bytes for {undisturbed}");
}
