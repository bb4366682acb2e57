//! `tercet import`, `tercet curate` and `tercet synthesize`: become `tercet-curate`, which makes training data.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::args::Words;
use crate::place::programs::find_own;

/// The program.
const CURATE: &str = "tercet-curate";

/// Hands over to the program, with its input, its output and its exit code.
///
/// # Errors
/// The program is not built, or cannot be started.
pub fn run(command: &str, args: &Words) -> anyhow::Result<()> {
    let program = find_own(CURATE)?;
    let error = Command::new(&program).arg(command).args(&args.words).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}
