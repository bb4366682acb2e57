//! The whole-system tests, a module each, in one program: it is linked once, and its tests share the machine's cores.
//!
//! `cargo test --release --workspace --test system stop::` runs those of one module.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod bench;
mod curate_relevance;
mod data;
mod determinism;
mod device;
mod device_choice;
mod docs;
mod doctor;
mod dry_run;
mod eval;
mod evaluating;
mod faults;
mod golden_step;
mod hosts;
mod house;
mod import;
mod killed;
mod killed_anywhere;
mod memory;
mod memory_budget;
mod nccl;
mod pipeline;
mod plan;
mod plan_time;
mod precision;
mod pretraining;
mod ranks_agree;
mod rehearse;
mod reporting;
mod resume;
mod retrieval;
mod retrieval_scale;
mod safety;
mod same_numbers;
mod same_weights;
mod score;
mod setup;
mod sharded_state;
mod slurm;
mod soak;
mod stop;
mod teaching;
mod test_gpu;
mod watching;

/// A file that is not a module of its crate's test program would be compiled by nobody, and its tests would seem to
/// pass.
#[test]
fn every_test_file_is_a_module() {
    let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["launcher", "sampler", "sampler/curate", "tests", "worker"] {
        let folder = crates.join(name).join("tests");
        let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let module = path.file_stem().unwrap().to_str().unwrap();
            let is_module = path.extension().is_some_and(|ending| ending == "rs") || path.join("mod.rs").is_file();
            if is_module && module != "main" {
                let line = format!("mod {module};");
                assert!(main.lines().any(|own| own == line), "{}/main.rs lacks `{line}`", folder.display());
            }
        }
    }
}
