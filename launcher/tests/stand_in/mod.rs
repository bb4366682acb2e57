//! The launcher beside a stand-in for its worker (worker.sh), in a folder of its own. `mpirun` is the real one.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A tokenizer that knows five words, with the special tokens of XLM-RoBERTa.
#[allow(dead_code, reason = "each test file uses its part")]
const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 1, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 2, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 3, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
  "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "decoder": null,
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
  "model": {"type": "WordLevel", "unk_token": "<unk>",
    "vocab": {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "one": 4, "two": 5, "three": 6, "four": 7, "five": 8}}}"#;

pub struct StandIn {
    dir: TempDir,
}

#[allow(dead_code, reason = "each test file uses its part")]
impl StandIn {
    pub fn new() -> Self {
        let bare = Self::without_worker();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand_in/worker.sh");
        symlink(script, bare.path("tercet-worker")).unwrap();
        std::fs::write(bare.path("r.toml"), "name = \"t\"\nsteps = 4\n[log]\nevery_steps = 2\n").unwrap();
        bare
    }

    pub fn without_worker() -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        // A hard link: a program beside it is found by where it was started, not by where it was built.
        std::fs::hard_link(env!("CARGO_BIN_EXE_tercet"), dir.path().join("tercet")).unwrap();
        Self { dir }
    }

    /// tokenizer.json: words `one` to `five`, and the special tokens of XLM-RoBERTa.
    pub fn write_tokenizer(&self) {
        std::fs::write(self.path("tokenizer.json"), TOKENIZER).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `tercet WORDS` in the folder, whose worker does what `script` says.
    pub fn tercet(&self, words: &str, script: &str) -> Command {
        let mut command = Command::new(self.path("tercet"));
        command.args(words.split_whitespace()).current_dir(self.dir.path()).env("STAND_IN", script);
        command.env_remove("CUDA_VISIBLE_DEVICES");
        command
    }

    pub fn run(&self, words: &str, script: &str) -> Ran {
        Ran::from(self.tercet(words, script).output().unwrap())
    }
}

#[derive(Debug)]
#[allow(dead_code, reason = "each test file uses its part")]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
