//! restarts.jsonl in the run folder: a line for every failure, and one when the run goes on.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line<'a> {
    /// The ranks are gone.
    Failed {
        /// In words.
        why: &'a str,
        /// The last step that was heard of.
        step: u64,
        /// Ranks.
        world_size: usize,
        /// Seconds between the last sign of life, or of progress, and the launcher's knowing.
        detected_secs: f64,
    },
    /// The first step after it is done.
    Resumed {
        /// The checkpoint's step, 0 for none.
        from_step: u64,
        /// Steps that had been done and are done again.
        lost_steps: u64,
        /// Ranks.
        world_size: usize,
        /// Seconds between the launcher's knowing and this step.
        resumed_secs: f64,
    },
}

/// Appends a line. A failure to write it does not end a run that has enough to do with another one.
pub fn append(run_dir: &Path, line: &Line) {
    // Plain data cannot fail to serialise.
    let mut value = serde_json::to_value(line).expect("plain data");
    value["time"] = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).into();
    let file = OpenOptions::new().create(true).append(true).open(run_dir.join("restarts.jsonl"));
    let _ = file.and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
}
