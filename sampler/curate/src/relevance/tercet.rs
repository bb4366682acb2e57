//! The launcher, which starts ranks.

use std::env;
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::CurateError;

/// The program `tercet`.
#[derive(Debug)]
pub(super) struct Tercet {
    program: PathBuf,
    /// A file that this process has locked. All that it starts have it open, so that it is locked until the last of
    /// them has ended, however this process ends.
    alone: Option<File>,
}

/// How often it is looked whether others have ended.
const POLL: Duration = Duration::from_millis(50);

impl Tercet {
    /// The one beside this program, or in PATH.
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, CurateError> {
        let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("tercet")));
        let in_path = env::var_os("PATH")
            .into_iter()
            .flat_map(|path| env::split_paths(&path).map(|dir| dir.join("tercet")).collect::<Vec<_>>());
        let found = beside.into_iter().chain(in_path).find(|path| path.is_file());
        found.map(Self::at).ok_or_else(|| {
            let reason = "relevance: tercet is neither beside this program nor in PATH: build it with `make build`";
            CurateError::Usage(reason.into())
        })
    }

    /// The one at `program`.
    pub fn at(program: PathBuf) -> Self {
        Self { program, alone: None }
    }

    /// Locks the file `path` for this process and all that it starts. Those that another process started with it are
    /// waited for, no longer than `patience`.
    ///
    /// # Errors
    /// They are still there. The operating system's.
    pub fn be_alone(&mut self, path: &Path, patience: Duration) -> Result<(), CurateError> {
        let failed = CurateError::io(path);
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(&failed)?;
        let (begun, mut is_told) = (Instant::now(), false);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                // There are file systems without locks.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            let mut who = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut who)).map_err(&failed)?;
            let who = if who.is_empty() { "ranks" } else { &who };
            if begun.elapsed() >= patience {
                let secs = patience.as_secs();
                let reason = format!("{who} of an earlier command did not end within {secs} s: end it, and try again");
                return Err(CurateError::Machine(format!("{}: {reason}", path.display())));
            }
            if !std::mem::replace(&mut is_told, true) {
                // Nobody is left to be told that standard error is closed.
                _ = writeln!(io::stderr(), "tercet: waiting for the end of {who}, which an earlier command started");
            }
            sleep(POLL);
        }
        file.set_len(0).map_err(&failed)?;
        self.alone = Some(file);
        Ok(())
    }

    /// Writes into the locked file who has it.
    fn tell(&self, who: &str) -> io::Result<()> {
        let Some(mut file) = self.alone.as_ref() else { return Ok(()) };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(who.as_bytes())
    }

    /// Runs `tercet COMMAND WORDS`, and waits for its end. What it says goes to standard error. It is asked to stop
    /// when this process ends, however it ends.
    ///
    /// # Errors
    /// It cannot be started, or does not end well; with its exit code.
    pub fn run(&self, command: &'static str, words: Vec<OsString>) -> Result<(), CurateError> {
        let failed = CurateError::io(&self.program);
        let said = io::stderr().as_fd().try_clone_to_owned().map_err(&failed)?;
        let mut child = Command::new(&self.program);
        child.arg(command).args(words).stdin(Stdio::null()).stdout(said);
        let parent = std::process::id();
        let alone = self.alone.as_ref().map(AsRawFd::as_raw_fd);
        let ask_to_stop = move || {
            // SAFETY: the file is open as long as `self` is, and the call may be made between fork and exec.
            if alone.is_some_and(|file| unsafe { libc::fcntl(file, libc::F_SETFD, 0) } != 0) {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: neither call touches memory, and both may be made between fork and exec.
            let (asked, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM), libc::getppid()) };
            match asked {
                // It has ended already, so nobody waits for this.
                0 if now.cast_unsigned() != parent => Err(io::ErrorKind::Interrupted.into()),
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure allocates nothing and takes no lock; what it calls may be called after a fork.
        unsafe { child.pre_exec(ask_to_stop) };
        let mut child = child.spawn().map_err(&failed)?;
        let told = self.tell(&format!("tercet {command}, process {}", child.id()));
        let ended = child.wait().and_then(|ended| told.map(|()| ended)).map_err(&failed)?;
        match ended.code() {
            Some(0) => Ok(()),
            code => Err(CurateError::Ranks { command, code, signal: ended.signal() }),
        }
    }
}
