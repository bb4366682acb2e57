//! Programs of this machine.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tercet_configs::ExitCode;

use crate::exit::Fail;

/// A program of Tercet's: the one beside this program, as cargo and packages put it, or the one in PATH.
///
/// # Errors
/// [`Fail`] with [`ExitCode::Usage`] where there is none.
pub fn find_own(program: &str) -> Result<PathBuf, Fail> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(program)));
    beside.filter(|path| is_program(path)).or_else(|| find_in_path(program)).ok_or_else(|| {
        let reason = format!("{program} is neither beside this program nor in PATH: build it with `make build`");
        Fail::new(ExitCode::Usage, reason)
    })
}

/// A program, where it is in PATH.
pub fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).filter(|dir| dir != OsStr::new("")).map(|dir| dir.join(program)).find(|p| is_program(p))
}

/// Whether it is a file that can be run.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
