//! restarts.jsonl in the run folder: a line for every failure, and one when the run goes on.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The file's name.
const NAME: &str = "restarts.jsonl";

/// A line, and when it was written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timed {
    /// What happened.
    #[serde(flatten)]
    pub line: Line,
    /// Seconds since 1970.
    pub time: u64,
}

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Line {
    /// The ranks are gone.
    Failed {
        /// In words.
        why: String,
        /// The last step that was heard of.
        step: u64,
        /// Ranks.
        world_size: usize,
        /// Seconds from the last sign of life, or of progress, until the launcher knew of the failure.
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
        /// Seconds from then until this step.
        resumed_secs: f64,
    },
}

/// Appends a line. A failure to write it does not end a run that is already dealing with another failure.
pub fn append(run_dir: &Path, line: Line) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let _ = append_line(&run_dir.join(NAME), &(tercet_protocol::says::line(&Timed { line, time }) + "\n"));
}

/// What happened to the run of `run_dir` so far. Lines that cannot be read are left out: half a one, which a full disk
/// or a machine that went down has left, or an event of a later version.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read(run_dir: &Path) -> io::Result<Vec<Timed>> {
    match fs::read(run_dir.join(NAME)) {
        Ok(bytes) => {
            Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Appends `line` after the last whole line: a full disk or a machine that went down may have left half a one.
fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut before = Vec::new();
    file.read_to_end(&mut before)?;
    let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |feed| feed + 1);
    if whole < before.len() {
        file.set_len(whole as u64)?;
    }
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_cut_off_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restarts.jsonl");
        let failed = || Line::Failed { why: "signal 9".into(), step: 7, world_size: 2, detected_secs: 0.5 };
        append(dir.path(), failed());
        let one = std::fs::read_to_string(&path).unwrap();
        for torn in ["", "{\"event\":", "{}"] {
            std::fs::write(&path, format!("{one}{torn}")).unwrap();
            append(dir.path(), failed());
            assert_eq!(read(dir.path()).unwrap().len(), 2);
            let text = std::fs::read_to_string(&path).unwrap();
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((lines.len(), &lines[1]["step"]), (2, &7.into()), "{text}");
        }
    }
}
