//! Programs of this machine.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A program, where it is in PATH.
pub fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).filter(|dir| dir != OsStr::new("")).map(|dir| dir.join(program)).find(|p| is_program(p))
}

/// Whether it is a file that can be run.
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
