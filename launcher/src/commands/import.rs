//! `tercet import`: becomes `tercet-curate`, which reads other people's layouts.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::args::Import;
use crate::place::programs::find_own;

/// The program.
const CURATE: &str = "tercet-curate";

/// Hands over to the program, with its input, its output and its exit code.
///
/// # Errors
/// The program is not built, or cannot be started.
pub fn run(args: &Import) -> anyhow::Result<()> {
    let program = find_own(CURATE)?;
    let error = Command::new(&program).arg("import").args(&args.words).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
