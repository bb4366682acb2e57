//! What has been sent and what came back: a file of JSON lines that only grows, and is on the disk before anything that
//! costs money happens.
//!
//! A request is written before it is sent, with all that it can use, and its answer when it is there. What was sent and
//! never answered stays counted with all that it can use, as the server may have worked on it. So the sum is never
//! below what a server counts, whenever this program is killed. A line that a kill cut off is dropped.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::caps::Used;
use super::reply::Answer;
use crate::error::CurateError;

/// How each line begins.
const BEGINNING: &[u8] = b"{\"event\":\"";

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Entry {
    /// The request is about to be sent, or stands in a batch file. It can use so many tokens.
    Sent {
        /// The request.
        key: String,
        /// Tokens of the prompt at most.
        tokens_in: u64,
        /// Tokens of the answer at most.
        tokens_out: u64,
        /// The number of the batch file.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        batch: Option<u32>,
    },
    /// It was answered.
    Answered(Answered),
    /// The server will not answer it, however often it is sent.
    Refused {
        /// The request.
        key: String,
        /// HTTP's status.
        status: u16,
        /// What the server says.
        reason: String,
    },
    /// The server said that it did not answer, so it used no tokens.
    Failed {
        /// The request.
        key: String,
    },
    /// Nothing came back of a batch in which it was: the server may have worked on it.
    Lost {
        /// The request.
        key: String,
    },
    /// It was refused as all others were, so the recipe or the server is at fault: it is asked again.
    Free {
        /// The request.
        key: String,
    },
    /// It did not reach a server.
    NotSent {
        /// The request.
        key: String,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The request.
    pub key: String,
    /// What the language model said.
    pub text: String,
    /// Why it stopped: `stop`, `length`, …
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finish: Option<String>,
    /// Tokens of the prompt, as the server counts; without its count, at most.
    pub tokens_in: u64,
    /// Tokens of the answer, likewise.
    pub tokens_out: u64,
}

impl Answered {
    /// A request's answer. What the server does not count is all that was possible.
    pub fn new(key: String, answer: Answer, most: Used) -> Self {
        let (tokens_in, tokens_out) = answer.tokens.unwrap_or((most.tokens_in, most.tokens_out));
        Self { key, text: answer.text, finish: answer.finish, tokens_in, tokens_out }
    }
}

/// What is known of a request for good.
#[derive(Debug, Clone)]
pub enum Known {
    /// Its answer.
    Answered(Answered),
    /// That there is none, and why.
    Refused(String),
}

/// A request that was sent and has no answer.
#[derive(Debug, Clone, Copy)]
struct Open {
    most: Used,
    batch: Option<u32>,
}

/// The journal of a folder. Only one process has it at a time.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// None for a journal that is only read.
    file: Option<File>,
    known: HashMap<String, Known>,
    open: HashMap<String, Open>,
    /// The requests that have ever stood in a batch file: their answers may come late.
    batched: HashSet<String>,
    /// Those given up of which nothing had come back, with what they are counted with.
    given_up: HashMap<String, Used>,
    used: Used,
    /// The part of it that belongs to requests that were sent again, as nothing had come back.
    lost: Used,
    batches: u32,
}

impl Journal {
    /// Opens the journal at `path`, or begins it.
    ///
    /// # Errors
    /// Another process has it. A line in its middle is none. The operating system's.
    pub fn open(path: &Path) -> Result<Self, CurateError> {
        let io = CurateError::io(path);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(&io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                return Err(CurateError::Usage(format!("{path}: another process is at work in this folder")));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut journal = Self::empty(path);
        let whole = journal.read(&mut file)?;
        file.set_len(whole).and_then(|()| file.sync_all()).map_err(&io)?;
        // A new file's name must be on the disk, too.
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(&io)?;
        }
        journal.file = Some(file);
        Ok(journal)
    }

    /// What the journal at `path` says, if there is one, which is not changed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look_at(path: &Path) -> Result<Self, CurateError> {
        let mut journal = Self::empty(path);
        if path.exists() {
            journal.read(&mut File::open(path).map_err(CurateError::io(path))?)?;
        }
        Ok(journal)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            known: HashMap::new(),
            open: HashMap::new(),
            batched: HashSet::new(),
            given_up: HashMap::new(),
            used: Used::default(),
            lost: Used::default(),
            batches: 0,
        }
    }

    /// Reads all lines, and returns the bytes of whole ones.
    fn read(&mut self, file: &mut File) -> Result<u64, CurateError> {
        let path = self.path.clone();
        let io = CurateError::io(&path);
        file.seek(SeekFrom::Start(0)).map_err(&io)?;
        let mut lines = BufReader::with_capacity(1 << 20, file);
        let (mut line, mut whole, mut number) = (Vec::new(), 0, 0u64);
        loop {
            line.clear();
            lines.read_until(b'\n', &mut line).map_err(&io)?;
            if line.last() != Some(&b'\n') {
                // Only what a kill can have left is dropped.
                let len = line.len().min(BEGINNING.len());
                if line[..len] != BEGINNING[..len] {
                    let reason = "its end is no line of a journal: it is somebody else's, choose another --out";
                    return Err(CurateError::data(&path, reason));
                }
                return Ok(whole);
            }
            number += 1;
            let entry = serde_json::from_slice(&line).map_err(|error| {
                let reason = format!("line {number} is no line of a journal: {error}: restore the file");
                CurateError::data(&path, reason)
            })?;
            whole += line.len() as u64;
            self.apply(entry);
        }
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Sent { key, tokens_in, tokens_out, batch } => {
                let most = Used { requests: 1, tokens_in, tokens_out };
                self.used = self.used.plus(most);
                if batch.is_some() {
                    self.batched.insert(key.clone());
                }
                self.batches = self.batches.max(batch.unwrap_or_default());
                if let Some(before) = self.open.insert(key, Open { most, batch }) {
                    self.lost = self.lost.plus(before.most);
                }
            }
            Entry::Answered(answered) => {
                self.close(&answered.key, Some((answered.tokens_in, answered.tokens_out)));
                self.known.entry(answered.key.clone()).or_insert(Known::Answered(answered));
            }
            Entry::Refused { key, status, reason } => {
                self.close(&key, Some((0, 0)));
                self.known.entry(key).or_insert(Known::Refused(format!("{status}: {reason}")));
            }
            Entry::Failed { key } => self.close(&key, Some((0, 0))),
            Entry::Lost { key } => {
                if let Some(open) = self.open.remove(&key) {
                    self.lost = self.lost.plus(open.most);
                    self.given_up.insert(key, open.most);
                }
            }
            Entry::Free { key } => {
                if matches!(self.known.get(&key), Some(Known::Refused(_))) {
                    self.known.remove(&key);
                }
            }
            Entry::NotSent { key } => self.close(&key, None),
        }
    }

    /// Counts what an open request really used: itself and these tokens, or nothing at all.
    fn close(&mut self, key: &str, tokens: Option<(u64, u64)>) {
        let most = match self.open.remove(key) {
            Some(open) => Some(open.most),
            // It came late, and takes the place of what was counted for it.
            None => self.given_up.remove(key).inspect(|most| self.lost = self.lost.minus(*most)),
        };
        if let Some(most) = most {
            self.used = self.used.minus(most);
            if let Some((tokens_in, tokens_out)) = tokens {
                self.used = self.used.plus(Used { requests: 1, tokens_in, tokens_out });
            }
        }
    }

    /// Writes entries, which are on the disk when this returns.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&mut self, entries: Vec<Entry>) -> Result<(), CurateError> {
        let path = self.path.clone();
        let io = CurateError::io(&path);
        let mut lines = Vec::new();
        for entry in &entries {
            serde_json::to_writer(&mut lines, entry).map_err(|error| io(error.into()))?;
            lines.push(b'\n');
        }
        if let Some(file) = &mut self.file {
            file.write_all(&lines).and_then(|()| file.sync_data()).map_err(&io)?;
        }
        for entry in entries {
            self.apply(entry);
        }
        Ok(())
    }

    /// What is known of a request for good.
    pub fn known(&self, key: &str) -> Option<&Known> {
        self.known.get(key)
    }

    /// The requests that were refused, if nothing else is known: no answer ever came.
    pub fn only_refused(&self) -> Vec<String> {
        if self.known.values().any(|known| matches!(known, Known::Answered(_))) {
            return Vec::new();
        }
        self.known.keys().cloned().collect()
    }

    /// Has the requests asked again that were refused, if so many were and none has an answer. Returns what to say
    /// then.
    ///
    /// # Errors
    /// The operating system's.
    pub fn free_refused(&mut self, least: usize) -> Result<Option<String>, CurateError> {
        let refused = self.only_refused();
        let Some(Known::Refused(reason)) = refused.iter().min().and_then(|key| self.known.get(key)) else {
            return Ok(None);
        };
        if refused.len() < least {
            return Ok(None);
        }
        let why = format!(
            "the server answers nothing, and has refused {} requests (HTTP {reason}): mend what it names (llm.model, \
             llm.parameters, prompt, or the server) and type the same command again, which asks them again",
            refused.len()
        );
        self.write(refused.into_iter().map(|key| Entry::Free { key }).collect())?;
        Ok(Some(why))
    }

    /// The batch file in which an open request stands.
    pub fn batch_of(&self, key: &str) -> Option<u32> {
        self.open.get(key)?.batch
    }

    /// The open requests of the batch files, by file.
    pub fn in_batches(&self) -> impl Iterator<Item = (&str, u32)> {
        self.open.iter().filter_map(|(key, open)| Some((key.as_str(), open.batch?)))
    }

    /// What an open request can use.
    pub fn most(&self, key: &str) -> Used {
        let open = self.open.get(key).map(|open| open.most);
        open.or_else(|| self.given_up.get(key).copied()).unwrap_or_default()
    }

    /// Whether a request has ever stood in a batch file.
    pub fn was_in_batch(&self, key: &str) -> bool {
        self.batched.contains(key)
    }

    /// The number of batch files so far.
    pub fn num_batches(&self) -> u32 {
        self.batches
    }

    /// What has been used, what open requests can use included.
    pub fn used(&self) -> Used {
        self.used
    }

    /// The part of [`used`](Self::used) that belongs to requests of which nothing came back.
    pub fn unanswered(&self) -> Used {
        self.open.values().fold(self.lost, |sum, open| sum.plus(open.most))
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(journal.used(), Used { requests: 3, tokens_in: 130, tokens_out: 25 });
        assert_eq!(journal.unanswered(), Used { requests: 1, tokens_in: 100, tokens_out: 20 });
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let cut = Journal::open(&path).unwrap();
            let lines = whole[..len].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(cut.known("a").is_some(), lines >= 3);
            let expected = [(0, 0), (1, 120), (2, 240), (2, 155), (2, 35), (3, 155)][lines];
            assert_eq!((cut.used().requests, cut.used().tokens()), expected, "{len}");
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
