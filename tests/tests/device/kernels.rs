//! Kernels of our own on the device, which the stand-in of NVRTC "compiles" and runs on the host: when they serve, and
//! what a run does without them.

use std::fs;
use std::path::Path;

use tercet_tests::scene::Scene;
use tercet_tests::stand_in::{Counts, StandIn};

/// What a run logs, and what it asks of the device; compiled kernels are kept in `cache`.
fn run(scene: &Scene, name: &str, device: &StandIn, cache: &Path) -> (String, Counts) {
    let counts = scene.place.path(&format!("counts-{name}"));
    let device = device.clone().with("STAND_IN_COUNTS", &counts).with("XDG_CACHE_HOME", cache);
    device.under(scene.train(name, 1).set("precision=bf16").set("model.dropout=0.1")).succeed();
    (fs::read_to_string(scene.place.path(name).join("train.log")).unwrap(), Counts::read(&counts))
}

fn launches_its_own(counts: &Counts) -> bool {
    counts.operators().any(|operator| operator.starts_with("tercet::"))
}

#[test]
fn they_are_compiled_once_and_again_when_what_was_kept_is_damaged() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(1, 0);
    let cache = scene.place.path("cache");
    let compiled = |name: &str| {
        let (log, counts) = run(&scene, name, &device, &cache);
        assert!(launches_its_own(&counts), "{log}");
        log.contains("has compiled kernels for sm_80")
    };
    assert!(compiled("first") && !compiled("second"));
    let mut kept = fs::read_dir(cache.join("tercet/kernels")).unwrap();
    let file = kept.next().unwrap().unwrap().path();
    assert!(kept.next().is_none());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    assert!(compiled("third") && fs::read(&file).unwrap() == whole);
    // A cache that cannot be written costs a second at each start.
    fs::remove_dir_all(&cache).unwrap();
    fs::write(&cache, "no folder").unwrap();
    assert!(compiled("fourth") && compiled("fifth"));
}

#[test]
fn without_a_compiler_libtorch_serves_and_the_log_says_why() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(1, 0);
    let cache = scene.place.path("cache");
    for (name, device, why) in [
        ("refused", device.clone().with("STAND_IN_NVRTC", "the text is not liked"), "the text is not liked"),
        ("old", device.clone().with("STAND_IN_CAPABILITY", "75"), "compute capability 8.0 and newer, and it has 7.5"),
    ] {
        let (log, counts) = run(&scene, name, &device, &cache);
        assert!(log.contains("computes without kernels of our own") && log.contains(why), "{log}");
        assert!(!launches_its_own(&counts) && counts.launches("native_layer_norm") > 0);
    }
}
