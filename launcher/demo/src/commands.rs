//! Tercet's own commands, as the demo calls them: just as a person would, with what they say kept in a log.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Context;
use tercet_configs::{ExitCode, Recipe};

use crate::args::{Ranks, Settings, TrainArgs};
use crate::exit::{self, Fail};
use crate::noise::Cause;
use crate::signals::Noted;
use crate::supervise;
use crate::watch::{Input, Stop, watch};

/// Calls commands on a fixed number of ranks.
#[derive(Debug)]
pub(super) struct Commands {
    ranks: NonZeroUsize,
    log: PathBuf,
}

impl Commands {
    /// Commands with ranks use `ranks` of them; what they say is added to the file `log`.
    pub fn new(ranks: NonZeroUsize, log: PathBuf) -> Self {
        Self { ranks, log }
    }

    /// Tokenises `rows/NAME.jsonl` files into `store`.
    pub fn prepare(&self, tokenizer: &Path, store: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
        let mut words = vec!["--tokenizer".into(), tokenizer.into(), "--out".into(), store.into()];
        words.extend(files.iter().map(OsString::from));
        self.quietly("prepare", words)
    }

    /// Writes `recipe` to `file` and trains as it says, with its progress on the terminal. Returns the model directory.
    pub fn train(&self, recipe: &Recipe, file: &Path) -> anyhow::Result<PathBuf> {
        fs::write(file, recipe.to_toml()).with_context(|| format!("writing {}", file.display()))?;
        if recipe.steps == 0 {
            self.quietly("train", vec![file.into(), "-n".into(), "1".into()])?;
        } else {
            supervise::train(&TrainArgs {
                recipe: file.to_owned(),
                settings: Settings { set: Vec::new(), more: Vec::new() },
                resume: false,
                ranks: Ranks { ranks: Some(self.ranks), hosts: None },
            })?;
        }
        let model = recipe.run_dir.join(format!("step-{:08}", recipe.steps)).join("model");
        anyhow::ensure!(model.is_dir(), "training has left no model at {}", model.display());
        Ok(model)
    }

    /// Writes the rows of `rows` with hard negatives to `out`.
    pub fn mine(&self, model: &Path, rows: &Path, out: &Path, num_negatives: usize) -> anyhow::Result<()> {
        let words = ["--model".into(), model.into(), "--rows".into(), rows.into(), "--out".into(), out.into()];
        let number = ["--negatives".into(), num_negatives.to_string().into()];
        self.quietly("mine", words.into_iter().chain(number).chain(self.ranks()).collect())
    }

    /// Evaluates on BEIR folders and writes the figures to `json`, the run files to `runs`.
    pub fn eval(&self, model: &Path, folders: &[PathBuf], runs: &Path, json: &Path) -> anyhow::Result<()> {
        let mut words: Vec<OsString> = vec!["--model".into(), model.into(), "--data".into()];
        words.extend(folders.iter().map(OsString::from));
        words.extend(["--out".into(), runs.into(), "--json".into(), json.into()]);
        self.quietly("eval", words.into_iter().chain(self.ranks()).collect())
    }

    fn ranks(&self) -> [OsString; 2] {
        ["-n".into(), self.ranks.to_string().into()]
    }

    /// Runs `tercet COMMAND WORDS`; its output goes to the log, and to standard error only if it fails.
    fn quietly(&self, command: &str, words: Vec<OsString>) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let shown = words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let output = Mutex::new(format!("$ tercet {command} {shown}\n").into_bytes());
        let keep = |line: &[u8]| {
            if let Ok(mut output) = output.lock() {
                output.extend_from_slice(line);
            }
        };
        let signals = Noted::begin().context("installing signal handlers")?;
        let mut child = Command::new(program);
        child.arg(command).args(words);
        let ended = watch(child, Input::Nothing, Stop::AT_ONCE, &signals, || false, keep, keep)?;
        let output = output.into_inner().unwrap_or_default();
        let mut log = File::options().create(true).append(true).open(&self.log)?;
        log.write_all(&output).with_context(|| format!("writing {}", self.log.display()))?;
        match ended.status.code() {
            Some(0) => Ok(()),
            Some(code) if ended.interrupted.is_none() => {
                eprint!("{}", String::from_utf8_lossy(&output));
                Err(Fail::said(code).into())
            }
            _ => Ok(exit::check(&ended, &Cause::default())?),
        }
    }
}

/// The recipe in `text` (one of configs/), with `settings` laid over it.
pub(super) fn recipe(text: &str, name: &str, settings: &[(&str, &Path)]) -> anyhow::Result<Recipe> {
    let setting = |(key, path): &(&str, &Path)| {
        let path = path.to_str().ok_or_else(|| {
            Fail::new(
                ExitCode::Usage,
                format!("{}: a recipe's paths must be UTF-8; choose another --out", path.display()),
            )
        })?;
        Ok(format!("{key}={}", toml_string(path)))
    };
    let settings = settings.iter().map(setting).collect::<Result<Vec<_>, Fail>>()?;
    Ok(Recipe::parse(text, Path::new(name), &settings)?)
}

/// A TOML basic string; JSON's escapes are all TOML's too.
fn toml_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
