//! `tercet-curate` on miniatures of the layouts in which data sets are published, and on wrong files.

#![allow(clippy::unwrap_used)]

mod curation;
mod folders;
mod papers;
mod ranks;
mod rows;
mod synthesis;
mod tables;
mod written;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// A folder of a test's own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("tercet-test-").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// `tercet` with these words, in this folder: its exit code and what it said.
    fn run(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tercet-curate"));
        let ended = command.args(words).current_dir(self.0.path()).output().unwrap();
        let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        (ended.status.code().unwrap(), said)
    }

    /// The same, which must succeed.
    fn run_well(&self, words: &[&str]) -> String {
        let (code, said) = self.run(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    /// The same, which must end with `code` and say all of `expected`.
    fn refuse_run(&self, words: &[&str], code: i32, expected: &[&str]) {
        let (found, said) = self.run(words);
        assert_eq!(found, code, "{words:?}: {said}");
        expected.iter().for_each(|part| assert!(said.contains(part), "{words:?}: {said:?} lacks {part:?}"));
    }

    /// `tercet import` with these words, in this folder: its exit code and what it said.
    fn import(&self, words: &[&str]) -> (i32, String) {
        self.run(&[&["import"], words].concat())
    }

    /// The same, which must succeed.
    fn succeed(&self, words: &[&str]) -> String {
        let (code, said) = self.import(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    }

    /// The same, which must end with `code`, say all of `expected`, and leave no output.
    fn refuse(&self, words: &[&str], code: i32, expected: &[&str]) {
        let before = self.names();
        let (found, said) = self.import(words);
        assert_eq!(found, code, "{words:?}: {said}");
        expected.iter().for_each(|part| assert!(said.contains(part), "{words:?}: {said:?} lacks {part:?}"));
        assert_eq!(self.names(), before, "{words:?}");
    }

    /// All files.
    fn names(&self) -> Vec<PathBuf> {
        fn add(dir: &Path, all: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => add(&path, all),
                    false => all.push(path),
                }
            }
        }
        let mut all = Vec::new();
        add(self.0.path(), &mut all);
        all.sort();
        all
    }

    /// The lines of a file, packed or not.
    fn lines(&self, name: &str) -> Vec<String> {
        let bytes = std::fs::read(self.path(name)).unwrap();
        let bytes = if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    /// The objects of a file.
    fn objects(&self, name: &str) -> Vec<Value> {
        self.lines(name).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
