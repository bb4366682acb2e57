//! The launcher beside a stand-in for its worker (worker.sh), in a folder of its own. `mpirun` is the real one.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tercet_fixtures::word_tokenizer;

/// What its tokenizer knows.
pub const WORDS: [&str; 5] = ["one", "two", "three", "four", "five"];

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

    /// tokenizer.json, which knows [`WORDS`].
    pub fn write_tokenizer(&self) {
        std::fs::write(self.path("tokenizer.json"), word_tokenizer(WORDS).to_string()).unwrap();
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
