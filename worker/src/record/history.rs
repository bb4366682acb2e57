//! metrics.jsonl: a line for each step, in order, whatever happened to the run in between, and one for an evaluation
//! behind that of its step. ranks.jsonl works alike.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use tercet_protocol::says::{self, EvalRecord};

/// The number of bytes read at a time, from the end.
const BLOCK: u64 = 1 << 16;

/// The run's history, open at its end.
pub struct History {
    path: PathBuf,
    file: File,
}

impl History {
    /// Opens `path` for the steps after `step`, and cuts off the lines of later steps. Returns the last remaining
    /// lines, oldest first: those of at most `num_last` steps, and of evaluations between and behind them.
    ///
    /// Only the part from those lines on is read, so it takes as long after a million steps as after ten.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: PathBuf, step: u64, num_last: usize) -> anyhow::Result<(Self, Vec<Value>)> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).append(true).open(&path);
        let mut history = Self { file: file.with_context(|| format!("opening {}", path.display()))?, path };
        let last = cut_back(&mut history.file, step, num_last).with_context(|| history.about("opening"))?;
        Ok((history, last))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        // In one piece: a process that is killed leaves whole lines.
        self.file.write_all(format!("{}\n", says::line(line)).as_bytes()).with_context(|| self.about("writing"))
    }

    /// Another handle to the file, for the thread that must sync it.
    ///
    /// # Errors
    /// The system has no handle left.
    pub fn handle(&self) -> anyhow::Result<File> {
        self.file.try_clone().with_context(|| self.about("syncing"))
    }

    /// Syncs the file to disk.
    ///
    /// # Errors
    /// It cannot be synced.
    pub fn sync(&self) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| self.about("syncing"))
    }

    /// The context of an error.
    fn about(&self, doing: &str) -> String {
        format!("{doing} {} (if the disk is full: free space, then go on with --resume)", self.path.display())
    }
}

/// Truncates `file` after the last line of a step up to `step`. Returns the last remaining lines, as [`History::open`]
/// does.
fn cut_back(file: &mut File, step: u64, num_last: usize) -> io::Result<Vec<Value>> {
    let mut start = file.metadata()?.len();
    let mut bytes = Vec::new(); // from `start` on, without what is cut off
    let mut kept: Vec<Value> = Vec::new(); // newest first
    let mut end = 0;
    let mut num_steps = 0;
    while num_steps < num_last.max(1) {
        // Takes the newest line of what was read, once its beginning was read as well.
        let line_start = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |feed| feed + 1);
        if line_start == 0 && start > 0 {
            let len = BLOCK.min(start);
            start -= len;
            file.seek(SeekFrom::Start(start))?;
            let mut block = vec![0; len as usize];
            file.read_exact(&mut block)?;
            block.append(&mut bytes);
            bytes = block;
            continue;
        }
        let line: Option<Value> = serde_json::from_slice(&bytes[line_start..]).ok();
        // An unreadable line was torn when a machine went down. If it follows the last line that stays, it is cut off.
        if let Some(line) = line.filter(|line| line["step"].as_u64().is_some_and(|own| own <= step)) {
            if kept.is_empty() {
                end = start + bytes.len() as u64;
            }
            num_steps += usize::from(!EvalRecord::is_one(&line));
            kept.push(line);
        }
        if line_start == 0 {
            break;
        }
        bytes.truncate(line_start - 1);
    }
    // The line feed is not part of the line. It is missing only if the file ends in the middle of a line.
    let has_feed = end > 0 && end < file.metadata()?.len();
    file.set_len(end + u64::from(has_feed))?;
    if end > 0 && !has_feed {
        file.write_all(b"\n")?;
    }
    if num_last == 0 {
        kept.clear();
    }
    kept.reverse();
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> String {
        // Lines have very different lengths; some are longer than a block.
        let len = if step % 50 == 7 { 70_000 } else { step as usize % 90 };
        format!("{{\"step\":{step},\"dataset\":\"{}\"}}\n", "x".repeat(len))
    }

    fn cut(text: &str, step: u64, num_last: usize) -> (String, Vec<u64>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, text).unwrap();
        let (mut history, last) = History::open(path.clone(), step, num_last).unwrap();
        history.push(&serde_json::json!({"step": step + 1})).unwrap();
        let last = last.iter().map(|line| line["step"].as_u64().unwrap()).collect();
        (std::fs::read_to_string(&path).unwrap(), last)
    }

    #[test]
    fn lines_of_later_steps_are_cut_off_and_the_rest_stays_byte_for_byte() {
        let all: Vec<String> = (1..=400).map(line).collect();
        for (step, num_last) in [(0, 5), (1, 5), (7, 0), (8, 1), (57, 100), (399, 100), (400, 3), (500, 400)] {
            let kept = all[..all.len().min(step as usize)].concat();
            let (text, last) = cut(&all.concat(), step, num_last);
            assert!(text == format!("{kept}{{\"step\":{}}}\n", step + 1), "after step {step}");
            let num_kept = step.min(400);
            let expected: Vec<u64> = (num_kept.saturating_sub(num_last as u64) + 1..=num_kept).collect();
            assert_eq!(last, expected, "after step {step}");
        }
    }

    #[test]
    fn an_evaluation_belongs_to_its_step_and_counts_as_none() {
        let evaluation = |step: u64| format!("{{\"step\":{step},\"eval_secs\":1.5}}\n");
        let all: Vec<String> = (1..=40).map(|step| line(step) + &evaluation(step)).collect();
        for (step, num_last, num_lines) in [(40, 3, 6), (17, 1, 2), (17, 0, 0), (2, 9, 4)] {
            let (text, last) = cut(&all.concat(), step, num_last);
            assert!(
                text == format!("{}{{\"step\":{}}}\n", all[..step as usize].concat(), step + 1),
                "after step {step}"
            );
            assert_eq!(last.len(), num_lines, "after step {step}: {last:?}");
        }
    }

    #[test]
    fn what_is_torn_is_cut_off() {
        let whole: String = (1..=3).map(line).collect();
        for torn in ["{\"step\":4,\"lo", "\0\0\0\0", "{\"step\":4}\n\0\0\0"] {
            assert_eq!(cut(&format!("{whole}{torn}"), 3, 9), (format!("{whole}{{\"step\":4}}\n"), vec![1, 2, 3]));
        }
        assert_eq!(cut("", 3, 9).0, "{\"step\":4}\n");
    }
}
