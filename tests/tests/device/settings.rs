//! What libtorch is set to while a run computes. Most of it decides about kernels that a stand-in has not, so the
//! switches themselves are looked at.

use std::collections::BTreeSet;

use tercet_tests::scene::Scene;
use tercet_tests::stand_in::{Counts, StandIn};

/// The settings that held while a run of two steps called operators, and how often the flash kernel attended forward.
fn trained(scene: &Scene, run: &str, device: &StandIn, settings: &[&str]) -> (BTreeSet<String>, i64) {
    let counts = scene.place.path(&format!("counts-{run}"));
    let train = settings.iter().fold(scene.train(run, 1).set("precision=bf16"), |train, setting| train.set(setting));
    device.clone().with("STAND_IN_COUNTS", &counts).under(train).succeed();
    let counts = Counts::read(&counts);
    (counts.settings().map(str::to_owned).collect(), counts.launches("_flash_attention_forward"))
}

fn all(settings: &[&str]) -> BTreeSet<String> {
    settings.iter().map(|setting| (*setting).to_owned()).collect()
}

/// From the first operator to the last, and whatever the user's shell says of TF32.
#[test]
fn a_run_computes_with_the_settings_that_are_promised() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(2, 0);
    let promised = [
        "fills-new-memory=0",
        "cudnn-attention=0",
        "bf16-partial-sums=1",
        "tf32-products=0",
        "tf32-cudnn=0",
        "expandable-segments=1",
        "cublas-workspace=:4096:8",
    ];
    let device = device.with("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "1");
    for (run, deterministic) in [("in-order", true), ("in-any-order", false)] {
        let asked = format!("deterministic={deterministic}");
        let (found, _) = trained(&scene, run, &device, &[asked.as_str()]);
        let own = format!("deterministic={}", u8::from(deterministic));
        assert_eq!(found, all(&[&promised[..], &[own.as_str()]].concat()), "{run}");
    }
}

/// The allocator's and cuBLAS' settings are defaults, which a user's own replace.
#[test]
fn what_the_user_has_set_stays() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(1, 0);
    let device = device.with("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:False");
    let (found, _) = trained(&scene, "run", &device.with("CUBLAS_WORKSPACE_CONFIG", ":16:8"), &[]);
    assert!(found.contains("expandable-segments=0") && found.contains("cublas-workspace=:16:8"), "{found:?}");
}

/// On Hopper libtorch prefers cuDNN's attention, which prepares itself anew for each length, to the flash kernel. Where
/// only deterministic operations are allowed it would not take it in any case.
#[test]
fn hopper_attends_by_the_flash_kernel_deterministic_or_not() {
    let Some(device) = StandIn::new(1) else { return };
    let scene = Scene::new(1, 0);
    let device = device.with("STAND_IN_CAPABILITY", "90");
    for asked in ["deterministic=true", "deterministic=false"] {
        let (_, attended) = trained(&scene, asked, &device, &[asked]);
        assert!(attended > 0, "{asked}");
    }
}
