//! Starts a part of `rank_side` on several ranks, and reports how it ended.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// The environment variable that says which part a rank plays.
pub const PART: &str = "TERCET_TEST_PART";
/// The environment variable with the size of the largest message in bytes.
pub const MESSAGE_BYTES: &str = "TERCET_TEST_MESSAGE_BYTES";
/// A rank prints this, with its process id, when all are up.
pub const READY: &str = "ready, process";
/// A rank prints this when its part went well.
pub const DONE: &str = "part done";

/// A job that runs longer counts as hung: it is killed, and its test fails. It is long because a busy machine starts
/// ranks slowly.
const HUNG_AFTER: Duration = Duration::from_secs(300);

/// Jobs run one at a time: ranks that spin for each other on few cores would make the times meaningless.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A job that has ended.
pub struct Job {
    /// None if it hung and was killed.
    pub exit_code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: String,
    /// When the last rank said [`READY`].
    ready: Option<Instant>,
}

impl Job {
    /// Runs `part` on `num_ranks` ranks until it ends.
    pub fn run(num_ranks: usize, part: &str, message_bytes: usize) -> Self {
        Self::run_with(num_ranks, part, message_bytes, &[])
    }

    /// The same, with more environment variables.
    pub fn run_with(num_ranks: usize, part: &str, message_bytes: usize, variables: &[(&str, String)]) -> Self {
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut mpirun = Command::new("mpirun")
            .args(["-n", &num_ranks.to_string(), "--oversubscribe"])
            .arg(std::env::current_exe().unwrap())
            .args(["rank_side", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(PART, part)
            .env(MESSAGE_BYTES, message_bytes.to_string())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("mpirun does not start ({e}): `make setup` installs it (openmpi-bin)"));

        let stdout = BufReader::new(mpirun.stdout.take().unwrap());
        let mut stderr = mpirun.stderr.take().unwrap();
        let lines = thread::spawn(move || {
            stdout.lines().map_while(Result::ok).map(|line| (Instant::now(), line)).collect::<Vec<_>>()
        });
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let exit_code = wait(&mut mpirun);
        let (lines, stderr) = (lines.join().unwrap(), errors.join().unwrap());
        let ready = lines.iter().filter(|(_, line)| line.contains(READY)).map(|(at, _)| *at).max();
        Self { exit_code, stdout: lines.into_iter().map(|(_, line)| line).collect(), stderr, ready }
    }

    /// The lines of all ranks' standard output that contain `text`.
    pub fn lines_with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.stdout.iter().map(String::as_str).filter(move |line| line.contains(text))
    }

    /// Asserts that all `num_ranks` ranks have completed their part.
    pub fn assert_well(&self, num_ranks: usize) {
        assert_eq!(self.exit_code, Some(0), "{self}");
        assert_eq!(self.lines_with(DONE).count(), num_ranks, "{self}");
    }

    /// Asserts that every rank has ended within `limit` of the moment when all were up.
    pub fn assert_gone_within(&self, limit: Duration) {
        let ready = self.ready.unwrap_or_else(|| panic!("the ranks never met: {self}"));
        for line in self.lines_with(READY) {
            let process = line.split(READY).nth(1).unwrap().trim();
            // mpirun may end shortly before the ranks that it has killed.
            while is_running(process) {
                assert!(ready.elapsed() <= limit, "process {process} is still there: {self}");
                thread::sleep(Duration::from_millis(10));
            }
        }
        assert!(ready.elapsed() <= limit, "it took {:?}: {self}", ready.elapsed());
    }
}

/// Whether the process runs; a zombie does not.
fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z') && !line.contains('X'))
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n{}\n{}", self.exit_code, self.stdout.join("\n"), self.stderr)
    }
}

/// The exit code; none if it hung and was killed.
fn wait(mpirun: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = mpirun.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > HUNG_AFTER {
            mpirun.kill().unwrap();
            mpirun.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
