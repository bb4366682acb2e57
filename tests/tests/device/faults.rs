//! A device that fails: the words and the exit code with which a run ends.

use tercet_tests::hold::Hold;
use tercet_tests::program::send;
use tercet_tests::scene::Scene;
use tercet_tests::stand_in::StandIn;

use super::ranks::over;

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
