//! Rank 0's log: plain lines in the run folder's train.log, and on standard error unless a launcher shows the events.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log; lines are appended to the log of earlier starts.
///
/// # Errors
/// train.log cannot be opened.
pub fn init(run_dir: &Path, events: bool) -> anyhow::Result<()> {
    let path = run_dir.join("train.log");
    let file = open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let to_file = layer().with_ansi(false).with_target(false).with_writer(Mutex::new(file));
    let level = if events { LevelFilter::OFF } else { LevelFilter::INFO };
    let to_terminal = layer().with_ansi(is_coloured()).without_time().with_target(false).with_writer(std::io::stderr);
    let to_terminal = to_terminal.with_filter(level);
    tracing_subscriber::registry().with(to_file.with_filter(LevelFilter::INFO)).with(to_terminal).init();
    Ok(())
}

/// Whether standard error may have colours: only on a terminal, and not if NO_COLOR has a value.
pub fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Opens a log that may end in the middle of a line, if the machine went down while it was written.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(file)
}
