//! Tercet's own commands, as the demo calls them: just as a person would, with what they say kept in a log.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use tercet_configs::{ExitCode, Recipe};

use crate::child::{Ended, Signals};
use crate::fail::Fail;

/// Calls commands on a fixed number of ranks.
pub(crate) struct Commands {
    tercet: PathBuf,
    ranks: NonZeroUsize,
    log: PathBuf,
    signals: Signals,
}

impl Commands {
    /// Commands of the `tercet` beside this program. Those with ranks use `ranks` of them; what they say is added to
    /// the file `log`.
    ///
    /// # Errors
    /// Exit code 2 if there is no `tercet`.
    pub fn new(ranks: NonZeroUsize, log: PathBuf) -> anyhow::Result<Self> {
        let tercet = std::env::current_exe().context("finding this program")?.with_file_name("tercet");
        if !tercet.is_file() {
            let what = format!("{} is not there: `make demo` builds it", tercet.display());
            return Err(Fail::new(ExitCode::Usage, what).into());
        }
        let signals = Signals::new().context("installing signal handlers")?;
        Ok(Self { tercet, ranks, log, signals })
    }

    /// Tokenises `rows/NAME.jsonl` files into `store`.
    pub fn prepare(&self, tokenizer: &Path, store: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
        let mut words = vec!["--tokenizer".into(), tokenizer.into(), "--out".into(), store.into()];
        words.extend(files.iter().map(OsString::from));
        self.quietly("prepare", words)
    }

    /// Tokenises the texts of `file` into `store`, for pre-training.
    pub fn prepare_texts(&self, tokenizer: &Path, store: &Path, file: &Path) -> anyhow::Result<()> {
        let words = ["--tokenizer".into(), tokenizer.into(), "--out".into(), store.into()];
        self.quietly("prepare", words.into_iter().chain(["--texts".into(), file.into()]).collect())
    }

    /// Writes `recipe` to `file` and trains as it says, with its progress on the terminal. Returns the model directory.
    pub fn train(&self, recipe: &Recipe, file: &Path) -> anyhow::Result<PathBuf> {
        fs::write(file, recipe.to_toml()).with_context(|| format!("writing {}", file.display()))?;
        if recipe.steps == 0 {
            self.quietly("train", vec![file.into(), "-n".into(), "1".into()])?;
        } else {
            let mut command = Command::new(&self.tercet);
            command.arg("train").arg(file).args(self.ranks());
            check(self.run(&mut command)?, "train")?;
        }
        let model = recipe.run_dir.join(format!("step-{:08}", recipe.steps)).join("model");
        anyhow::ensure!(model.is_dir(), "training left no model at {}", model.display());
        Ok(model)
    }

    /// Writes the rows of `rows` with hard negatives to `out`.
    pub fn mine(&self, model: &Path, rows: &Path, out: &Path, num_negatives: usize) -> anyhow::Result<()> {
        let words = ["--model".into(), model.into(), "--rows".into(), rows.into(), "--out".into(), out.into()];
        let number = ["--negatives".into(), num_negatives.to_string().into()];
        self.quietly("mine", words.into_iter().chain(number).chain(self.ranks()).collect())
    }

    /// Evaluates on BEIR folders as `suite` says and writes figures and run files to `out`.
    pub fn eval(&self, model: &Path, folders: &[PathBuf], suite: &Path, out: &Path) -> anyhow::Result<()> {
        let mut words: Vec<OsString> = vec!["--model".into(), model.into(), "--data".into()];
        words.extend(folders.iter().map(OsString::from));
        words.extend(["--suite".into(), suite.into(), "--out".into(), out.into()]);
        self.quietly("eval", words.into_iter().chain(self.ranks()).collect())
    }

    /// Shows runs and evaluations side by side in `page`.
    pub fn report<'a>(&self, folders: impl Iterator<Item = &'a PathBuf>, page: &Path) -> anyhow::Result<()> {
        let words = folders.map(OsString::from).chain(["--out".into(), page.into()]);
        self.quietly("report", words.collect())
    }

    fn ranks(&self) -> [OsString; 2] {
        ["-n".into(), self.ranks.to_string().into()]
    }

    /// Runs `tercet COMMAND WORDS`; its output goes to the log, and to standard error only if it fails.
    fn quietly(&self, command: &str, words: Vec<OsString>) -> anyhow::Result<()> {
        let shown = words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let opened = File::options().read(true).create(true).append(true).open(&self.log);
        let mut log = opened.with_context(|| format!("writing {}", self.log.display()))?;
        let begin = log.seek(SeekFrom::End(0))?;
        writeln!(log, "$ tercet {command} {shown}").with_context(|| format!("writing {}", self.log.display()))?;
        let mut child = Command::new(&self.tercet);
        child.arg(command).args(words).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let done = check(self.run(&mut child)?, command);
        if done.is_err() {
            let mut said = Vec::new();
            log.seek(SeekFrom::Start(begin))?;
            log.read_to_end(&mut said)?;
            // Nobody is left to be told that standard error is closed.
            _ = io::stderr().write_all(&said);
        }
        Ok(done?)
    }

    fn run(&self, command: &mut Command) -> anyhow::Result<Ended> {
        self.signals.run(command).with_context(|| format!("starting {}", self.tercet.display()))
    }
}

/// Whether `tercet COMMAND` did what was asked. Its exit codes pass through: it has said why.
fn check(ended: Ended, command: &str) -> Result<(), Fail> {
    match (ended.status.code(), ended.stopped_by) {
        (Some(0), None) => Ok(()),
        // The shell's way to say it.
        (Some(0) | None, Some(signal)) => Err(Fail::with_code(128 + signal, format!("stopped by signal {signal}"))),
        (Some(code), _) => Err(Fail::with_code(code, "")),
        (None, None) => {
            let signal = ended.status.signal().unwrap_or_default();
            Err(Fail::new(ExitCode::Machine, format!("tercet {command} was ended by signal {signal}")))
        }
    }
}

/// The recipe in `text` (one of configs/), with `settings` laid over it.
pub(crate) fn recipe(text: &str, name: &str, settings: &[(&str, &Path)]) -> anyhow::Result<Recipe> {
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

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;
    use crate::fail::code_of;

    /// The only test with signal handlers, which are the process's.
    #[test]
    fn what_a_command_says_is_in_the_log_and_its_code_is_the_demos() {
        let folder = tempfile::tempdir().unwrap();
        let tercet = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tercet.sh");
        let (ranks, log) = (NonZeroUsize::MIN, folder.path().join("log.txt"));
        let commands = Commands { tercet, ranks, log: log.clone(), signals: Signals::new().unwrap() };
        commands.quietly("prepare", vec!["0".into(), "well".into()]).unwrap();
        let error = commands.quietly("eval", vec!["4".into(), "bad row".into()]).unwrap_err();
        assert_eq!((code_of(&error), error.to_string()), (4, String::new()));
        let said = "$ tercet prepare 0 well\nprepare: well\n$ tercet eval 4 bad row\neval: bad row\n";
        assert_eq!(fs::read_to_string(log).unwrap(), said);
        // A request to stop the demo, which is here this test, is passed on, and the program's end waited for.
        let script = "trap 'exit 75' TERM; kill -TERM $PPID; while :; do sleep 0.01; done";
        let ended = commands.signals.run(Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!((ended.status.code(), ended.stopped_by), (Some(75), Some(libc::SIGTERM)));
    }

    #[test]
    fn what_is_killed_is_the_machines_failure_and_what_is_stopped_is_nobodys() {
        let outcome = |status, stopped_by| {
            let ended = Ended { status: ExitStatus::from_raw(status), stopped_by };
            check(ended, "mine").map_or_else(|fail| (fail.to_string(), code_of(&fail.into())), |()| (String::new(), 0))
        };
        assert_eq!(outcome(0, None), (String::new(), 0));
        assert_eq!(outcome(libc::SIGKILL, None), ("tercet mine was ended by signal 9".into(), 3));
        for status in [0, libc::SIGTERM] {
            assert_eq!(outcome(status, Some(libc::SIGTERM)), ("stopped by signal 15".into(), 143));
        }
        assert_eq!(outcome(130 << 8, Some(libc::SIGINT)), (String::new(), 130));
    }
}
