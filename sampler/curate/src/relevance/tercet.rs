//! The launcher, which starts ranks.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::CurateError;

/// The program `tercet`.
#[derive(Debug)]
pub(super) struct Tercet(PathBuf);

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
        found.map(Self).ok_or_else(|| {
            let reason = "relevance: tercet is neither beside this program nor in PATH: build it with `make build`";
            CurateError::Usage(reason.into())
        })
    }

    #[cfg(test)]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Runs `tercet COMMAND WORDS`, and waits for its end. What it says goes to standard error. It is asked to stop
    /// when this process ends, however it ends.
    ///
    /// # Errors
    /// It cannot be started, or does not end well; with its exit code.
    pub fn run(&self, command: &'static str, words: Vec<OsString>) -> Result<(), CurateError> {
        let failed = CurateError::io(&self.0);
        let said = io::stderr().as_fd().try_clone_to_owned().map_err(&failed)?;
        let mut child = Command::new(&self.0);
        child.arg(command).args(words).stdin(Stdio::null()).stdout(said);
        let parent = std::process::id();
        let ask_to_stop = move || {
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
        let ended = child.status().map_err(&failed)?;
        match ended.code() {
            Some(0) => Ok(()),
            code => Err(CurateError::Ranks { command, code, signal: ended.signal() }),
        }
    }
}
