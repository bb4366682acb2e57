//! Reading what runs and evaluations have left.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use tercet_configs::ExitCode;

use crate::exit::Fail;

/// The text of a file; none where there is no file.
///
/// # Errors
/// It cannot be read.
pub fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
}

/// What is wrong in the line `nth`, from 1, of a file that Tercet writes.
pub fn bad(path: &Path, nth: usize, why: &str) -> Fail {
    Fail::new(ExitCode::Data, format!("{}: line {nth}: {why}", path.display()))
}
