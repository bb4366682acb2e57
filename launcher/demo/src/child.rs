//! Runs one program at a time, and none that outlives the demo.
//!
//! The program gets a process group of its own, so that the terminal's Ctrl-C reaches only the demo, which passes it on
//! once and waits. Should the demo be killed, the kernel asks the program to stop. What the program starts in its turn
//! is its own concern.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// How often the program and signals are looked at.
const POLL: Duration = Duration::from_millis(20);

/// How the program ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub status: ExitStatus,
    /// The last signal that was passed on to it.
    pub stopped_by: Option<i32>,
}

/// The process's signal handlers; there is to be one of it.
#[derive(Debug)]
pub(crate) struct Signals {
    /// The last signal that was noted, 0 for none.
    noted: Arc<AtomicUsize>,
    /// Nothing runs: signals do what they do by default.
    idle: Arc<AtomicBool>,
}

impl Signals {
    /// Notes SIGINT and SIGTERM while a program runs.
    ///
    /// # Errors
    /// The operating system refuses a handler.
    pub fn new() -> io::Result<Self> {
        let new = Self { noted: Arc::default(), idle: Arc::new(AtomicBool::new(true)) };
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_default(signal, Arc::clone(&new.idle))?;
            flag::register_usize(signal, Arc::clone(&new.noted), signal as usize)?;
        }
        Ok(new)
    }

    /// Runs `command` to its end, without input. Call it on the main thread: the kernel stops the program when the
    /// thread that started it ends.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn run(&self, command: &mut Command) -> io::Result<Ended> {
        command.stdin(Stdio::null()).process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; prctl is a plain system call.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        self.noted.store(0, Ordering::Relaxed);
        self.idle.store(false, Ordering::Relaxed);
        let ended = command.spawn().and_then(|child| self.wait(child));
        self.idle.store(true, Ordering::Relaxed);
        ended
    }

    fn wait(&self, mut child: Child) -> io::Result<Ended> {
        let mut stopped_by = None;
        loop {
            let status = child.try_wait()?;
            match self.noted.swap(0, Ordering::Relaxed) {
                0 => {}
                signal => {
                    let signal = signal as i32;
                    stopped_by = Some(signal);
                    if status.is_none() {
                        // SAFETY: kill has no memory effects; the process has not been waited for, so its id is its
                        // own.
                        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
                    }
                }
            }
            if let Some(status) = status {
                return Ok(Ended { status, stopped_by });
            }
            std::thread::sleep(POLL);
        }
    }
}
