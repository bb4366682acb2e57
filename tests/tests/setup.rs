//! Which libtorch set-up takes for which NVIDIA driver, what it refuses, and that a failed installation leaves what was
//! there. A stand-in for nvidia-smi says the driver's version; nothing is fetched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tercet_tests::place::Place;

/// A folder with an installed libtorch of a kind, and a stand-in for nvidia-smi where there is to be a driver.
struct Machine(Place);

impl Machine {
    fn new(driver: Option<&str>, kind: Option<&str>) -> Self {
        let machine = Self(Place::new());
        fs::create_dir(machine.0.path("bin")).unwrap();
        let smi = machine.0.path("bin/nvidia-smi");
        // Without a driver it may be installed all the same, and fails.
        let script = driver.map_or("#!/bin/sh\nexit 9\n".to_owned(), |version| format!("#!/bin/sh\necho {version}\n"));
        fs::write(&smi, script).unwrap();
        fs::set_permissions(&smi, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(kind) = kind {
            fs::create_dir_all(machine.deps().join("libtorch/lib")).unwrap();
            fs::write(machine.deps().join("libtorch/lib/libtorch_cpu.so"), "").unwrap();
            fs::write(machine.stamp(), format!("2.13.0 {kind}\n")).unwrap();
        }
        machine
    }

    fn deps(&self) -> PathBuf {
        self.0.path("deps")
    }

    fn stamp(&self) -> PathBuf {
        self.deps().join("libtorch/flavour")
    }

    /// The exit code, and what is said, of a set-up that reaches no index.
    fn set_up(&self, torch: &str) -> (i32, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster/setup/libtorch.sh");
        let path = format!("{}:{}", self.0.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.arg(script).arg(self.deps()).env("PATH", path).env("TORCH", torch).env("TELL", "1");
        command.env("PIP_NO_INDEX", "1").env_remove("PIP_FIND_LINKS").env_remove("LIBTORCH").env_remove("TORCH_INDEX");
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The driver of a machine that has one comes before the stand-in's.
fn has_driver() -> bool {
    let has = Path::new("/proc/driver/nvidia/version").exists();
    if has {
        println!("SKIPPED: this machine has an NVIDIA driver");
    }
    has
}

/// On a machine with this driver and this libtorch, set-up with this TORCH ends so and says that.
fn expect(driver: Option<&str>, kind: Option<&str>, torch: &str, code: i32, words: &[&str]) {
    let machine = Machine::new(driver, kind);
    let (ended, said) = machine.set_up(torch);
    assert_eq!(ended, code, "driver {driver:?}, there {kind:?}, TORCH={torch}: {said}");
    for word in words {
        assert!(said.contains(word), "driver {driver:?}, there {kind:?}, TORCH={torch}: no `{word}` in: {said}");
    }
    // Whatever came of it, what was there is there.
    if let Some(kind) = kind {
        assert_eq!(fs::read_to_string(machine.stamp()).unwrap(), format!("2.13.0 {kind}\n"));
        assert!(machine.deps().join("libtorch/lib/libtorch_cpu.so").exists());
    }
    assert!(!machine.deps().join("new").exists(), "half an installation is left");
}

#[test]
fn the_driver_chooses_among_the_kinds() {
    if has_driver() {
        return;
    }
    expect(None, None, "", 2, &["2.13.0, CPU", "no NVIDIA driver"]);
    expect(Some("580.65.06"), None, "", 2, &["2.13.0, CUDA 13.0", "driver 580.65.06"]);
    expect(Some("535.104.05"), None, "", 2, &["2.13.0, CUDA 12.6", "driver 535.104.05", "TORCH_INDEX"]);
    expect(Some("535.104.05"), None, "cuda", 2, &["2.13.0, CUDA 12.6"]);
    expect(None, None, "cuda", 2, &["2.13.0, CUDA 13.0", "TORCH=cu126"]);
    expect(None, None, "rocm", 2, &["TORCH=rocm", "cu126"]);
}

#[test]
fn a_driver_that_runs_none_of_them_ends_set_up() {
    if has_driver() {
        return;
    }
    for torch in ["", "cuda"] {
        expect(Some("470.199.02"), None, torch, 2, &["470.199.02", "older than 525", "TORCH=cpu"]);
    }
}

#[test]
fn what_is_there_stays_where_the_driver_runs_it() {
    if has_driver() {
        return;
    }
    for (driver, kind, torch) in [
        (None, "cpu", ""),
        (None, "cu126", ""),
        (None, "cu130", "cuda"),
        (None, "cu126", "cuda"),
        (Some("535.104.05"), "cu126", ""),
        (Some("590.10"), "cu126", "cuda"),
        (Some("590.10"), "cu130", ""),
        (Some("590.10"), "cpu", "cpu"),
    ] {
        expect(driver, Some(kind), torch, 0, &["2.13.0"]);
    }
}

#[test]
fn what_the_driver_does_not_run_is_refused_with_the_command_that_mends_it() {
    if has_driver() {
        return;
    }
    expect(Some("580.65.06"), Some("cpu"), "", 2, &["make TORCH=cuda setup build", "CUDA 13.0"]);
    expect(Some("535.104.05"), Some("cpu"), "", 2, &["make TORCH=cuda setup build", "CUDA 12.6"]);
    expect(Some("535.104.05"), Some("cu130"), "", 2, &["make TORCH=cu126 setup build"]);
}

#[test]
fn a_failed_installation_leaves_what_was_there() {
    if has_driver() {
        return;
    }
    expect(None, Some("cpu"), "cu130", 2, &["is as it was"]);
    expect(None, Some("cpu"), "cu126", 2, &["is as it was", "download.pytorch.org/whl/cu126", "TORCH_INDEX=URL"]);
    // Told so in spite of the driver.
    expect(Some("535.104.05"), Some("cpu"), "cu130", 2, &["535.104.05 is too old for CUDA 13.0", "is as it was"]);
}
