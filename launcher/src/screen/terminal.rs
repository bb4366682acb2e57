//! Standard error and standard output, shared by everything that writes to them: lines never tear the progress bar.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tercet_configs::ExitCode;

use crate::exit::Fail;

/// Why the first output that was lost could not be written.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// The terminal or log file; clones are the same one.
#[derive(Debug, Clone)]
pub struct Screen {
    bar: ProgressBar,
    terminal: bool,
}

impl Screen {
    /// Standard error and standard output as they are, without a bar yet.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        Self { bar, terminal: std::io::stderr().is_terminal() }
    }

    /// Whether somebody watches: then there is a bar; a log gets lines instead.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes `text` to standard error as it is.
    pub fn say(&self, text: &str) {
        // Nobody is left to be told that standard error is closed.
        self.bar.suspend(|| _ = std::io::stderr().write_all(text.as_bytes()));
    }

    /// Writes `bytes` to standard output as they are. A failure ends no run; [`check_output`] reports it at the end.
    pub fn pass(&self, bytes: &[u8]) {
        self.bar.suspend(|| note(std::io::stdout().write_all(bytes).and_then(|()| std::io::stdout().flush()), &LOST));
    }

    /// Begins a bar of `len` units, on a terminal.
    pub fn open_bar(&self, len: u64) {
        if self.terminal {
            // The template is a constant, and its keys are indicatif's own.
            let style = ProgressStyle::with_template("{bar:24} {msg}").expect("a valid template");
            self.bar.set_style(style);
            self.bar.set_length(len);
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Moves the bar to `position` units and writes `text` beside it.
    pub fn move_bar(&self, position: u64, text: String) {
        self.bar.set_position(position);
        self.bar.set_message(text);
    }

    /// Takes the bar away.
    pub fn close_bar(&self) {
        self.bar.finish_and_clear();
    }
}

/// Keeps the first error in `lost`. A reader that has seen enough (`| head`) has lost nothing.
fn note(written: io::Result<()>, lost: &OnceLock<io::Error>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        _ = lost.set(error);
    }
}

/// Whether all that this process was to write to standard output is written.
///
/// # Errors
/// [`ExitCode::Machine`] if it is not, as on a full disk.
pub fn check_output() -> Result<(), Fail> {
    match LOST.get() {
        None => Ok(()),
        Some(error) => Err(Fail::new(ExitCode::Machine, format!("writing to standard output: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_is_kept_and_a_reader_that_leaves_is_none() {
        let lost = OnceLock::new();
        for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::Other] {
            note(Err(kind.into()), &lost);
            note(Ok(()), &lost);
        }
        assert_eq!(lost.get().map(io::Error::kind), Some(ErrorKind::StorageFull));
    }
}
