//! Rank 0's log: plain lines in the run folder's train.log, and on standard error unless a launcher shows events.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins to log; lines are appended to what a run before left.
///
/// # Errors
/// train.log cannot be opened.
pub(super) fn init(run_dir: &Path, events: bool) -> anyhow::Result<()> {
    let path = run_dir.join("train.log");
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let to_file = layer().with_ansi(false).with_target(false).with_writer(Mutex::new(file));
    let level = if events { LevelFilter::OFF } else { LevelFilter::INFO };
    let ansi = std::io::stderr().is_terminal();
    let to_terminal =
        layer().with_ansi(ansi).without_time().with_target(false).with_writer(std::io::stderr).with_filter(level);
    tracing_subscriber::registry().with(to_file.with_filter(LevelFilter::INFO)).with(to_terminal).init();
    Ok(())
}
