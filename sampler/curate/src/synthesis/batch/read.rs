//! Batch files read back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::journal::{Answered, Entry, Journal};
use super::super::reply::{MayHaveUsed, Reply, judge, said};
use super::open;
use crate::error::CurateError;
use crate::input::for_each_object;

/// Entries that are written to the journal at a time.
const TOGETHER: usize = 1_000;

/// A line that came back, or one of a file of requests.
#[derive(Deserialize)]
struct Line {
    custom_id: String,
    response: Option<Response>,
    error: Option<Value>,
    /// Only requests have one.
    body: Option<Value>,
}

#[derive(Deserialize)]
struct Response {
    status_code: u16,
    #[serde(default)]
    body: Value,
}

/// What was read.
#[derive(Debug, Default)]
struct Read {
    answered: u64,
    refused: u64,
    failed: u64,
    given_back: u64,
    again: u64,
    others: u64,
    /// Why a request failed.
    why_failed: Option<String>,
}

/// Reads what came back of batches into the journal, in any order. Returns what to say.
///
/// A file of requests is what was never submitted: its requests are as if they had not been written.
///
/// # Errors
/// A file cannot be read, holds nothing of this folder, or a line is none of a batch's.
pub fn read(files: &[PathBuf], journal: &mut Journal) -> Result<String, CurateError> {
    let mut read = Read::default();
    let mut seen = HashSet::new();
    files.iter().try_for_each(|file| read_file(file, journal, &mut seen, &mut read))?;
    let Read { answered, refused, failed, given_back, again, others, why_failed } = read;
    let failures = match why_failed {
        Some(why) => format!("errors, which are asked again (one of them: {why})"),
        None => String::new(),
    };
    let all = [
        (answered, "answers"),
        (refused, "requests that the server refused"),
        (failed, &failures),
        (given_back, "requests that were not submitted"),
        (again, "lines that had been read before"),
        (others, "lines of other requests"),
    ];
    let counted = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect::<Vec<_>>();
    let still = open(journal.ledger()).map(|open| format!("\nnot read back yet: {open}")).unwrap_or_default();
    Ok(format!("read: {}{still}", counted.join(", ")))
}

fn read_file(
    file: &Path,
    journal: &mut Journal,
    seen: &mut HashSet<String>,
    read: &mut Read,
) -> Result<(), CurateError> {
    let (mut entries, mut num_lines, others_before) = (Vec::new(), 0, read.others);
    for_each_object(file, &["custom_id", "response", "error", "body"], |_, line: Line| {
        num_lines += 1;
        let (key, ledger) = (line.custom_id, journal.ledger());
        let entry = match (line.response, line.error.filter(|error| !error.is_null()), line.body) {
            (None, None, None) => return Err("neither \"response\" nor \"error\": no line of a batch".into()),
            _ if !ledger.was_in_batch(&key) => {
                read.others += 1;
                return Ok(());
            }
            _ if ledger.known(&key).is_some() || seen.contains(&key) => None,
            // An answer is taken whenever it comes.
            (Some(response), ..) => Some(entry(&response, &key, journal, read)),
            (None, Some(error), _) if ledger.is_awaited(&key) => {
                read.why_failed.get_or_insert_with(|| said(&json!({ "error": error }).to_string()));
                Some(Entry::Failed { key: key.clone() })
            }
            (None, None, Some(_)) if ledger.batch_of(&key).is_some() => Some(Entry::NotSent { key: key.clone() }),
            // It failed before, or is asked in another way by now.
            _ => None,
        };
        match &entry {
            None => read.again += 1,
            Some(Entry::Answered(_)) => read.answered += 1,
            Some(Entry::Refused { .. }) => read.refused += 1,
            Some(Entry::NotSent { .. }) => read.given_back += 1,
            Some(_) => read.failed += 1,
        }
        seen.insert(key);
        entries.extend(entry);
        if entries.len() == TOGETHER {
            journal.write(std::mem::take(&mut entries))?;
        }
        Ok(())
    })?;
    journal.write(entries)?;
    if num_lines == read.others - others_before {
        let reason = match num_lines {
            0 => "is empty: leave it out, or get it once more".to_owned(),
            num => format!("none of its {num} lines is of a request that was written with --batch-out of this --out"),
        };
        return Err(CurateError::data(file, reason));
    }
    Ok(())
}

/// What the journal says of a response.
fn entry(response: &Response, key: &str, journal: &Journal, read: &mut Read) -> Entry {
    let key = key.to_owned();
    match judge(response.status_code, &response.body.to_string(), None) {
        Reply::Answered(answer) => {
            let most = journal.ledger().most(&key);
            Entry::Answered(Answered::new(key, answer, most))
        }
        Reply::Refused { status, reason } => Entry::Refused { key, status, reason },
        Reply::Again { used, why, .. } => {
            read.why_failed.get_or_insert(why);
            match used {
                MayHaveUsed::All => Entry::Lost { key },
                _ => Entry::Failed { key },
            }
        }
        Reply::Stop(why) => {
            read.why_failed.get_or_insert(why);
            Entry::Failed { key }
        }
    }
}
