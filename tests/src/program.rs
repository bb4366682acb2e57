//! Runs the built `tercet`, and makes sure that it ends in time, with a message, and with all its processes.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::built::assert_up_to_date;
use crate::slots;

/// The time limit of any run. Only a run that hangs takes longer, however slow or busy the machine is.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// The time within which ranks must end once one of them has said why. On a quiet machine they take a second or two;
/// ranks that nobody ends would stay much longer.
pub const TIME_TO_END: Duration = Duration::from_secs(60);

/// The variable that marks a run's processes; every child inherits the environment.
const MARK: &str = "TERCET_TEST_RUN";

/// The variable that hides GPUs.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// `tercet`, `tercet-worker`, `tercet-curate`, `tercet-demo` or `tercet-test-gpu`, where `make build` puts them. It
/// fails if they are not what the sources make of them now.
pub fn program(name: &str) -> PathBuf {
    static PROGRAMS: [OnceLock<PathBuf>; 5] = [const { OnceLock::new() }; 5];
    let which = ["tercet", "tercet-worker", "tercet-curate", "tercet-demo", "tercet-test-gpu"]
        .iter()
        .position(|program| *program == name)
        .unwrap();
    let found = || {
        let own = std::env::current_exe().unwrap();
        // target/release/deps/TEST and target/release/NAME
        let path = own.parent().and_then(|deps| deps.parent()).unwrap().join(name);
        assert!(path.is_file(), "{} is missing: type `make build`", path.display());
        assert_up_to_date(&path);
        path
    };
    PROGRAMS[which].get_or_init(found).clone()
}

/// A command line of `tercet`.
pub struct Tercet {
    command: Command,
    ranks: usize,
    alone: bool,
    limit: Duration,
}

impl Tercet {
    /// `tercet SUBCOMMAND`.
    pub fn new(subcommand: &str) -> Self {
        Self::of(&program("tercet"), subcommand)
    }

    /// The same of another build.
    pub fn of(program: &Path, subcommand: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(subcommand);
        Self::through(command, 1)
    }

    /// Any other program that starts ranks, for example a shell that starts `tercet`.
    ///
    /// Numbers that tests expect are a CPU's, also on a machine with GPUs: these are hidden, unless the test
    /// [shows](Self::with_gpus) them.
    pub fn through(mut command: Command, ranks: usize) -> Self {
        command.env(VISIBLE, "");
        Self { command, ranks, alone: false, limit: TIME_LIMIT }
    }

    /// Adds a word.
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    /// Adds `--set KEY=VALUE`.
    pub fn set(self, setting: impl Display) -> Self {
        self.arg("--set").arg(setting.to_string())
    }

    /// `-n RANKS`.
    pub fn ranks(mut self, ranks: usize) -> Self {
        self.ranks = ranks;
        self.arg("-n").arg(ranks.to_string())
    }

    /// Adds a variable to its environment and to that of its ranks.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Shows it the machine's GPUs, as this process sees them.
    pub fn with_gpus(mut self) -> Self {
        match std::env::var_os(VISIBLE) {
            Some(list) => self.command.env(VISIBLE, list),
            None => self.command.env_remove(VISIBLE),
        };
        self
    }

    /// Makes sure that nothing else runs at the same time.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Sets another time limit.
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts the command.
    pub fn start(mut self) -> Running {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let slots = if self.alone { slots::take_all() } else { slots::take(self.ranks) };
        let mark = format!("{MARK}={}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let (name, value) = mark.split_once('=').unwrap();
        // Waiting threads leave their core to other ranks and tests.
        self.command.env(name, value).env("OMP_WAIT_POLICY", "passive");
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let line = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let stderr = child.stderr.take().unwrap();
        let stderr =
            thread::spawn(move || BufReader::new(stderr).lines().map(|line| (Instant::now(), line.unwrap())).collect());
        Running { child, line, mark, limit: self.limit, stdout: Some(stdout), stderr: Some(stderr), _slots: slots }
    }

    /// Runs the command to its end.
    pub fn run(self) -> Ended {
        self.start().wait()
    }

    /// Runs the command, which must succeed, and returns its standard output.
    pub fn succeed(self) -> String {
        let ended = self.run();
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.line, ended.stderr());
        ended.stdout
    }
}

/// A running `tercet`. Dropping it ends it.
pub struct Running {
    child: Child,
    line: String,
    mark: String,
    limit: Duration,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<Vec<(Instant, String)>>>,
    _slots: slots::Held,
}

impl Running {
    /// `tercet`'s own process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for `tercet`'s end, and also for that of its processes, which outlive it if it was killed.
    pub fn wait_for_all(mut self) -> Ended {
        self.child.wait().unwrap();
        let started = Instant::now();
        while !self.processes().is_empty() {
            assert!(started.elapsed() < TIME_LIMIT, "{}: left behind: {:?}", self.line, self.processes());
            thread::sleep(Duration::from_millis(10));
        }
        self.wait()
    }

    /// Its processes that still run, other than its own, as (pid, program).
    pub fn processes(&self) -> Vec<(i32, String)> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| *pid != self.child.id() as i32)
            .filter_map(|pid| {
                let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
                let marked = environment.split(|byte| *byte == 0).any(|pair| pair == self.mark.as_bytes());
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                marked.then(|| (pid, name.trim_end().to_owned()))
            })
            .collect()
    }

    /// Waits until there are `count` processes called `name`, and returns them.
    pub fn wait_for_processes(&mut self, name: &str, count: usize) -> Vec<i32> {
        let mut found = Vec::new();
        self.wait_until(&format!("{count} processes called {name}"), |run| {
            found = run.processes().into_iter().filter(|(_, own)| own == name).map(|(pid, _)| pid).collect();
            found.len() == count
        });
        found
    }

    /// Waits until there are `world_size` ranks, and returns their processes, by rank.
    pub fn wait_for_ranks(&mut self, world_size: usize) -> Vec<i32> {
        let mut workers = self.wait_for_processes("tercet-worker", world_size);
        // The rank that mpirun has given each.
        let rank = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
            let pairs = environment.split(|byte| *byte == 0);
            let value = pairs.filter_map(|pair| pair.strip_prefix(b"OMPI_COMM_WORLD_RANK=")).next();
            value.map_or(0, |rank| String::from_utf8_lossy(rank).parse::<usize>().unwrap())
        };
        workers.sort_by_key(rank);
        workers
    }

    /// Returns when `met` is true; the run must not end before.
    pub fn wait_until(&mut self, what: &str, mut met: impl FnMut(&Self) -> bool) {
        let started = Instant::now();
        while !met(self) {
            assert!(self.child.try_wait().unwrap().is_none(), "{}: ended before there was {what}", self.line);
            assert!(started.elapsed() < self.limit, "{}: no {what} in {:?}", self.line, self.limit);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the run's end, which must come in time and leave no process behind.
    pub fn wait(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < self.limit, "{}: still runs after {:?}", self.line, self.limit);
            thread::sleep(Duration::from_millis(2));
        };
        let at = Instant::now();
        let left = self.processes();
        assert!(left.is_empty(), "{}: left processes behind: {left:?}", self.line);
        // No process holds the pipes any more.
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended { line: std::mem::take(&mut self.line), code: status.code(), stdout, words: stderr, at }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `wait` there is nothing to end. Otherwise a test has failed, and its ranks must not stay.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.processes().iter().for_each(|(pid, _)| send(*pid, libc::SIGKILL));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal.
pub fn send(pid: i32, signal: i32) {
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, signal) };
}

/// A `tercet` that has ended.
pub struct Ended {
    line: String,
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// The lines of its standard error, with the time of each.
    pub words: Vec<(Instant, String)>,
    /// When it ended.
    pub at: Instant,
}

impl Ended {
    /// Its standard error.
    pub fn stderr(&self) -> String {
        self.words.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// Asserts that it failed as it should: with this exit code, all of these words on standard error, no panic, and
    /// soon after it had said why.
    pub fn fails_with(&self, code: i32, expected: &[&str]) {
        let text = self.stderr();
        let what = format!("{}\n{text}", self.line);
        assert_eq!(self.code, Some(code), "{what}");
        for word in expected {
            assert!(text.contains(word), "{what}says nothing of {word:?}");
        }
        for trace in ["panicked", "backtrace", "terminate called", "MPI_ABORT"] {
            assert!(!text.contains(trace), "{what}shows {trace:?}");
        }
        let error = self.words.iter().find(|(_, line)| expected.iter().any(|word| line.contains(word)));
        let took = self.at - error.map_or(self.at, |(at, _)| *at);
        assert!(took < TIME_TO_END, "{what}ended {took:?} after saying why");
    }
}
