//! What has been sent and what came back: a file of JSON lines that only grows, and is on the disk before anything that
//! costs money happens.
//!
//! A request is written before it is sent, with all that it can use, and its answer when it is there. What was sent and
//! never answered stays counted with all that it can use, as the server may have worked on it. So the sum is never
//! below what a server counts, whenever this program is killed. A line that a kill cut off is dropped.

mod entry;
mod ledger;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use crate::error::CurateError;

pub use entry::{Answered, Entry};
pub use ledger::{Known, Ledger};

/// How each line begins.
const BEGINNING: &[u8] = b"{\"event\":\"";

/// The journal of a folder. Only one process has it at a time.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    ledger: Ledger,
}

impl Journal {
    /// Opens the journal at `path`, or begins it.
    ///
    /// # Errors
    /// Another process has it. A line in its middle is none. The operating system's.
    pub fn open(path: &Path) -> Result<Self, CurateError> {
        let io = CurateError::io(path);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(&io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                return Err(CurateError::Usage(format!("{path}: another process is at work in this folder")));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let (ledger, whole) = read(path, &file)?;
        file.set_len(whole).and_then(|()| file.sync_all()).map_err(&io)?;
        // A new file's name must be on the disk, too.
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(&io)?;
        }
        Ok(Self { path: path.to_owned(), file, ledger })
    }

    /// What the journal at `path` says, if there is one, which is not changed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look_at(path: &Path) -> Result<Ledger, CurateError> {
        match path.exists() {
            true => Ok(read(path, &File::open(path).map_err(CurateError::io(path))?)?.0),
            false => Ok(Ledger::new()),
        }
    }

    /// What it says.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes entries, which are on the disk when this returns.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&mut self, entries: Vec<Entry>) -> Result<(), CurateError> {
        if entries.is_empty() {
            return Ok(());
        }
        let io = CurateError::io(&self.path);
        let mut lines = Vec::new();
        for entry in &entries {
            serde_json::to_writer(&mut lines, entry).map_err(|error| io(error.into()))?;
            lines.push(b'\n');
        }
        self.file.write_all(&lines).and_then(|()| self.file.sync_data()).map_err(&io)?;
        entries.into_iter().for_each(|entry| self.ledger.add(entry));
        Ok(())
    }

    /// Has the requests that were refused asked again, if there are `least` of them or more and none has an answer.
    /// Returns what to say then.
    ///
    /// # Errors
    /// The operating system's.
    pub fn free_refused(&mut self, least: usize) -> Result<Option<String>, CurateError> {
        let refused = self.ledger.only_refused();
        let Some(reason) = refused.values().next().filter(|_| refused.len() >= least) else { return Ok(None) };
        let why = format!(
            "the server answers nothing, and has refused {} requests (HTTP {reason}): mend what it names (llm.model, \
             llm.parameters, prompt, or the server) and type the same command again, which asks them again",
            refused.len()
        );
        let free = refused.into_keys().map(|key| Entry::Free { key: key.to_owned() }).collect();
        self.write(free)?;
        Ok(Some(why))
    }
}

/// What all lines of `file`, which is at `path`, come to, and the bytes of whole ones.
fn read(path: &Path, file: &File) -> Result<(Ledger, u64), CurateError> {
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let (mut ledger, mut line, mut whole, mut number) = (Ledger::new(), Vec::new(), 0, 0u64);
    loop {
        line.clear();
        lines.read_until(b'\n', &mut line).map_err(CurateError::io(path))?;
        if line.last() != Some(&b'\n') {
            // Only what a kill can have left is dropped.
            let len = line.len().min(BEGINNING.len());
            if line[..len] != BEGINNING[..len] {
                let reason = "its end is no line of a journal: it is somebody else's, choose another --out";
                return Err(CurateError::data(path, reason));
            }
            return Ok((ledger, whole));
        }
        number += 1;
        let entry = serde_json::from_slice(&line).map_err(|error| {
            let reason = format!("line {number} is no line of a journal: {error}: restore the file");
            CurateError::data(path, reason)
        })?;
        whole += line.len() as u64;
        ledger.add(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::super::caps::Used;
    use super::*;

    fn sent(key: &str) -> Entry {
        Entry::Sent { key: key.into(), tokens_in: 100, tokens_out: 20, batch: None }
    }

    fn answered(key: &str) -> Entry {
        let (text, finish) = ("Why?".to_owned(), None);
        Entry::Answered(Answered { key: key.into(), text, finish, tokens_in: 30, tokens_out: 5 })
    }

    #[test]
    fn a_journal_cut_anywhere_counts_no_less_than_was_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.write(vec![sent("a"), sent("b")]).unwrap();
        journal.write(vec![answered("a"), Entry::Failed { key: "b".into() }, sent("c")]).unwrap();
        assert_eq!(journal.ledger().used(), Used { requests: 3, tokens_in: 130, tokens_out: 25 });
        assert_eq!(journal.ledger().unanswered(), Used { requests: 1, tokens_in: 100, tokens_out: 20 });
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let cut = Journal::open(&path).unwrap();
            let used = cut.ledger().used();
            let lines = whole[..len].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(cut.ledger().known("a").is_some(), lines >= 3);
            let expected = [(0, 0), (1, 120), (2, 240), (2, 155), (2, 35), (3, 155)][lines];
            assert_eq!((used.requests, used.tokens()), expected, "{len}");
            assert_eq!(
                std::fs::metadata(&path).unwrap().len(),
                whole[..len].iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1)
            );
        }
    }

    #[test]
    fn one_process_at_a_time_and_no_strange_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(CurateError::Usage(_))));
        drop(first);
        std::fs::write(&path, "{}\n").unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("line 1 is no line of a journal"));
    }
}
