//! The sampler's tests, a module each, in one program: it is linked once.

#![allow(clippy::unwrap_used)]

mod hostile_bytes;
mod plan_deal;
mod plan_policy;
mod plan_prepared;
mod plan_schedule;
mod plan_store;
mod prepare;
mod prepare_inputs;
mod prepare_tokenizer;
mod store;
mod tokenize_alike;
mod unigram_tokenizer;
mod word_tokenizer;
mod written_store;

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
