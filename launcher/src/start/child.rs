//! Runs the ranks and stays until all of them are gone, whatever happens: none outlives the launcher.
//!
//! The ranks get a session of their own. So the terminal's Ctrl-C reaches only the launcher, which passes it on once;
//! and whoever is left behind when `mpirun` has ended is found by the session, also if `mpirun` was its parent.
//! What runs on other machines is `mpirun`'s daemons' part: they end their ranks when they lose `mpirun`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::signals::Noted;

/// How long ranks that hang may take to end, which is `mpirun`'s work.
const TAKE_DOWN_GRACE: Duration = Duration::from_secs(3);

/// Time between two requests to stop: what is not ready for the first yet may be for the next.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long those that `mpirun` left behind may take; normally there are none.
const STRAGGLER_GRACE: Duration = Duration::from_secs(1);

/// How often ranks and signals are looked at.
const POLL: Duration = Duration::from_millis(20);

/// What the ranks read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    Nothing,
    /// The launcher's standard input, on rank 0.
    Ours,
}

/// How the ranks are asked to stop when the launcher is.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// The signal that is sent to them; none passes on the launcher's. It may come more than once.
    pub signal: Option<i32>,
    /// How long they may take to end.
    pub grace: Duration,
}

impl Stop {
    /// Nothing is kept, so nothing takes long.
    pub const AT_ONCE: Self = Self { signal: None, grace: Duration::from_secs(5) };
}

/// How the ranks ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The exit status of `mpirun`, or of the one worker.
    pub status: ExitStatus,
    /// The signal that made the launcher stop the ranks, if one did.
    pub interrupted: Option<i32>,
    /// They were taken down because they hang.
    pub taken_down: bool,
}

/// Runs `command`; every line of its output (line feed included) goes to `stdout` or `stderr`, each on its own thread.
/// `hangs` is asked all the time, and once it says so the ranks are taken down.
///
/// Call it on the main thread: the kernel ends the ranks when the thread that started them ends.
///
/// # Errors
/// The program cannot be started.
pub fn watch(
    mut command: Command,
    input: Input,
    stop: Stop,
    signals: &Noted,
    hangs: impl FnMut() -> bool,
    stdout: impl FnMut(&[u8]) + Send,
    stderr: impl FnMut(&[u8]) + Send,
) -> anyhow::Result<Ended> {
    let program = command.get_program().to_string_lossy().into_owned();
    own_session(&mut command);
    command.stdin(if input == Input::Ours { Stdio::piped() } else { Stdio::null() });
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| format!("starting {program}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // Not joined: it may wait for a terminal long after the ranks are gone. A reader that has gone is no error.
        std::thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut pipe));
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(|| each_line(out, stdout));
        scope.spawn(|| each_line(err, stderr));
        wait(&mut child, stop, signals, hangs).with_context(|| format!("waiting for {program}"))
    })
}

/// Waits for `child`, passing signals on, and then for all of its session; kills what does not end in time.
fn wait(child: &mut Child, stop: Stop, signals: &Noted, mut hangs: impl FnMut() -> bool) -> io::Result<Ended> {
    let session = child.id();
    let mut interrupted = None;
    let mut taken_down = false;
    let mut asked = Instant::now();
    let mut deadline: Option<Instant> = None;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(number) = signals.take() {
            // The second one means: now.
            deadline = Some(if interrupted.is_none() { Instant::now() + stop.grace } else { Instant::now() });
            interrupted = interrupted.or(Some(number));
            send(session, stop.signal.unwrap_or(number));
            asked = Instant::now();
        }
        if let (Some(_), Some(signal)) = (interrupted, stop.signal)
            && asked.elapsed() >= ASK_AGAIN
        {
            send(session, signal);
            asked = Instant::now();
        }
        if !taken_down && hangs() {
            taken_down = true;
            send(session, libc::SIGTERM);
            deadline = Some(Instant::now() + TAKE_DOWN_GRACE);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            kill_session(session);
        }
        std::thread::sleep(POLL);
    };
    let deadline = deadline.unwrap_or_else(|| Instant::now() + STRAGGLER_GRACE);
    while !session_members(session).is_empty() {
        if Instant::now() >= deadline {
            kill_session(session);
        }
        std::thread::sleep(POLL);
    }
    Ok(Ended { status, interrupted, taken_down })
}

/// Puts the child in a session of its own, and has the kernel end it should the launcher be killed. (With `mpirun`
/// gone, the ranks end too: MPI ends a process whose connection to it breaks.)
fn own_session(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; setsid and prctl are plain system calls.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

fn each_line(pipe: Option<impl Read>, mut take: impl FnMut(&[u8])) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        take(&line);
        line.clear();
    }
}

fn send(pid: u32, signal: i32) {
    // SAFETY: kill has no memory effects; a process that has just ended is answered with an error that means nothing.
    unsafe { libc::kill(pid as libc::pid_t, signal) };
}

fn kill_session(session: u32) {
    for pid in session_members(session) {
        send(pid, libc::SIGKILL);
    }
}

/// The processes of a session that still run.
fn session_members(session: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| runs_in_session(*pid, session).unwrap_or(false)).collect()
}

fn runs_in_session(pid: u32, session: u32) -> Option<bool> {
    let mut stat = String::new();
    File::open(format!("/proc/{pid}/stat")).ok()?.read_to_string(&mut stat).ok()?;
    // pid (name) state parent group session …; the name may hold spaces and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let running = !matches!(fields.next()?, "Z" | "X");
    Some(running && fields.nth(2)?.parse() == Ok(session))
}
