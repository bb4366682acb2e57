//! The worker's tests, a module each, in one program: it is linked once.

#![allow(clippy::unwrap_used)]

mod checkpoint;
mod exactness;
mod false_negatives;
mod golden;
mod scoring_property;
mod tasks;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// libtorch has one generator of random numbers for all threads: tests that draw take turns.
fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is not a module here would be compiled by nobody, and its tests would seem to pass.
#[test]
fn every_file_here_is_a_module() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = std::fs::read_to_string(folder.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(text.lines().any(|line| line == format!("mod {module};")), "main.rs lacks `mod {module};`");
        }
    }
}
