//! Lines for whoever watches.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Writes a line to standard output. A reader that has seen enough (`| head`) is no error; a full disk is one.
pub fn tell(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("writing to standard output"),
        _ => Ok(()),
    }
}
