//! The launcher's tests, a module each, in one program: it is linked once.

#![allow(clippy::unwrap_used, missing_docs)]

mod batch;
mod output;
mod plan;
mod prepare;
mod prepare_hostile;
mod prepare_resumed;
mod ranks;
mod signals;
mod stand_in;
mod typed;
mod word_rows;

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
