//! Starts Tercet's programs as a user would, each with a time limit, and keeps what they say in files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;

/// How often a program is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What a program that is stopped gets to end its ranks.
const TIME_TO_END: Duration = Duration::from_secs(5);

/// Lines of a program's complaint that the page repeats.
const LINES_OF_COMPLAINT: usize = 6;

/// Where the programs are and where what they say goes.
pub struct Programs {
    folder: PathBuf,
    logs: PathBuf,
    started: AtomicUsize,
}

/// A program that has ended.
pub struct Ended {
    /// What was typed.
    pub line: String,
    /// None if a signal ended it.
    pub code: Option<i32>,
    /// It was stopped because its time was over.
    pub was_stopped: bool,
    /// From its start to its end.
    pub secs: f64,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Programs {
    /// Those beside this program; logs go to `logs`.
    ///
    /// # Errors
    /// They are not there.
    pub fn beside_this(logs: PathBuf) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("finding this program")?;
        let folder = own.parent().context("finding this program's folder")?.to_owned();
        for name in ["tercet", "tercet-worker"] {
            let path = folder.join(name);
            ensure!(path.is_file(), "{} is not there: `make build` builds it", path.display());
        }
        fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
        Ok(Self { folder, logs, started: AtomicUsize::new(0) })
    }

    /// `tercet` with these words.
    pub fn tercet<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        self.command("tercet", words)
    }

    /// `tercet-worker` with these words.
    pub fn worker<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        self.command("tercet-worker", words)
    }

    fn command<W: AsRef<OsStr>>(&self, program: &str, words: impl IntoIterator<Item = W>) -> Command {
        let mut command = Command::new(self.folder.join(program));
        command.args(words);
        command
    }

    /// Runs a command until it ends, or until its time is over.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, mut command: Command, until: Instant) -> anyhow::Result<Ended> {
        let started = Instant::now();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let program = Path::new(&words[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = std::iter::once(program.as_str()).chain(words[1..].iter().map(String::as_str));
        let line = line.collect::<Vec<_>>().join(" ");
        let [out, err] = ["out", "err"].map(|kind| self.logs.join(format!("{number:03}-{program}.{kind}")));
        let create = |path: &Path| File::create(path).with_context(|| format!("writing {}", path.display()));
        // Files and no pipes: what a killed program leaves behind could hold a pipe open.
        command.stdin(Stdio::null()).stdout(create(&out)?).stderr(create(&err)?);
        let mut child = command.spawn().with_context(|| format!("starting {}", words[0]))?;
        let (status, was_stopped) = wait(&mut child, until)?;
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stdout, stderr) = (read(&out)?, read(&err)?);
        let secs = started.elapsed().as_secs_f64();
        fs::write(&err, format!("$ {line}\n{stderr}\nexit code {:?} after {secs:.1} s\n", status.code()))?;
        Ok(Ended { line, code: status.code(), was_stopped, secs, stdout, stderr })
    }

    /// Runs commands side by side, `at_once` at a time; how each ended, in order.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn run_all(&self, commands: Vec<Command>, at_once: usize, until: Instant) -> anyhow::Result<Vec<Ended>> {
        let next = AtomicUsize::new(0);
        let commands: Vec<_> = commands.into_iter().map(|command| Mutex::new(Some(command))).collect();
        let work = || -> anyhow::Result<Vec<(usize, Ended)>> {
            let mut ended = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(command) = commands.get(at) else { return Ok(ended) };
                let command = command.lock().ok().and_then(|mut command| command.take());
                ended.push((at, self.run(command.context("a command is run twice")?, until)?));
            }
        };
        let shares = thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once.max(1)).map(|_| scope.spawn(work)).collect();
            let results =
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a thread has failed")));
            results.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let mut all: Vec<(usize, Ended)> = shares.into_iter().flatten().collect();
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, ended)| ended).collect())
    }
}

impl Ended {
    /// Whether it did what was asked.
    ///
    /// # Errors
    /// It did not: how it ended, and the end of what it said.
    pub fn succeeded(&self) -> anyhow::Result<&Self> {
        ensure!(self.code == Some(0) && !self.was_stopped, "{}", self.complaint());
        Ok(self)
    }

    /// What it wrote as JSON to standard output, if it succeeded.
    ///
    /// # Errors
    /// It did not, or wrote something else.
    pub fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        self.succeeded()?;
        serde_json::from_str(&self.stdout).with_context(|| format!("reading what `{}` wrote", self.line))
    }

    /// How it ended, and the end of what it said.
    pub fn complaint(&self) -> String {
        let how = match (self.was_stopped, self.code) {
            (true, _) => format!("was stopped after {:.0} s, when the part's time was over", self.secs),
            (false, Some(code)) => format!("ended with exit code {code}"),
            (false, None) => "was ended by a signal".to_owned(),
        };
        let said: Vec<&str> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        // What Tercet says itself, or a panic, up to what mpirun says after it.
        let is_own = |line: &&str| line.starts_with("tercet") || line.contains("panicked at");
        let own = said.iter().skip_while(|line| !is_own(line)).take_while(|line| !line.starts_with("-----"));
        let own: Vec<&str> = own.copied().take(LINES_OF_COMPLAINT).collect();
        let end = if own.is_empty() { &said[said.len().saturating_sub(LINES_OF_COMPLAINT)..] } else { &own[..] };
        format!("`{}` {how}: {}", self.line, end.join(" / "))
    }
}

/// Waits; asks it to stop when the time is over, and ends it if it does not.
fn wait(child: &mut Child, until: Instant) -> anyhow::Result<(ExitStatus, bool)> {
    let mut asked = None;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a program")? {
            return Ok((status, asked.is_some()));
        }
        match asked {
            None if Instant::now() >= until => {
                // SAFETY: kill has no memory effects; the process has not been waited for, so its id is its own.
                unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > TIME_TO_END => child.kill().context("ending a program")?,
            _ => {}
        }
        thread::sleep(POLL);
    }
}
