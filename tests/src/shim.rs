//! A library, preloaded into ranks, that makes them end or hang in ways that cannot be caused from outside.

use std::path::{Path, PathBuf};

use crate::native;
use crate::program::send;

/// What a rank does on one of the library's signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Exits with code 0 without leaving the job.
    ExitZero,
    /// Exits with code 3.
    ExitThree,
    /// Calls MPI_Abort.
    MpiAbort,
    /// Panics.
    Panic,
    /// Writes to an invalid address.
    Crash,
    /// The thread that gets the signal stops working. It is the main thread unless [`make_thread`] names another.
    Hang,
}

/// Compiles the library into `dir`, and returns the value for LD_PRELOAD.
pub fn compile(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, include_str!("shim.c")).unwrap();
    native::c_library(&library, &[source], &["-O1", "-w", "-ldl"]);
    library
}

/// Makes the process `pid`, which has the library, perform `act`.
pub fn make(pid: i32, act: Act) {
    send(pid, libc::SIGRTMIN() + act as i32);
}

/// Makes the thread called `name` of the process `pid` perform `act`.
pub fn make_thread(pid: i32, name: &str, act: Act) {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let called = |tid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).is_ok_and(|own| own.trim_end() == name)
    };
    let tid = threads.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(called).unwrap();
    // SAFETY: tgkill has no memory effects.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, libc::SIGRTMIN() + act as i32) };
}
