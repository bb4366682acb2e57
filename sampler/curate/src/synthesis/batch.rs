//! Requests as files of OpenAI's batch interface, which `vllm run-batch` reads as well, and their answers read back.
//!
//! What stands in such a file counts as sent, so it is written into no other file and is not sent over HTTP until
//! something of its file has been read back. Then what did not come back is free again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::caps::Caps;
use super::journal::{Answered, Entry, Journal};
use super::plan::{Plan, Wanted};
use super::reply::{MayHaveUsed, Reply, judge};
use crate::error::CurateError;
use crate::input::for_each_object;
use crate::output::WholeFile;

/// Requests of a file at most, as OpenAI limits it.
const MAX_REQUESTS: usize = 50_000;
/// Bytes of a file at most, likewise.
const MAX_BYTES: usize = 200_000_000;

/// Entries that are written to the journal at a time.
const TOGETHER: usize = 1_000;

/// A file that is being written.
struct Part {
    number: u32,
    file: WholeFile,
    bytes: usize,
    entries: Vec<Entry>,
    /// Names of its requests, if they are written once more.
    keys: Vec<String>,
}

/// Writes the wanted requests to `path`, and to `path` with .2, .3, … before its ending when it is full. Returns what
/// to say.
///
/// # Errors
/// Not even one request is within the limits. The operating system's.
pub fn write(
    path: &Path,
    wanted: &[Wanted],
    plan: &Plan<'_>,
    caps: &Caps,
    journal: &mut Journal,
) -> Result<String, CurateError> {
    if let Some(said) = write_again(path, wanted, plan, journal)? {
        return Ok(said);
    }
    // All that are needed are looked for before the first is counted as sent.
    (0..=wanted.len().saturating_sub(1) / MAX_REQUESTS).try_for_each(|place| free(&path_of(path, place)))?;
    let (mut part, mut said, mut written): (Option<Part>, Vec<String>, _) = (None, Vec::new(), HashSet::new());
    let mut reserved = journal.used();
    let mut reached = None;
    for one in wanted {
        let request = plan.request(one)?;
        if written.contains(&request.key) {
            continue;
        }
        let after = reserved.plus(request.most);
        if let Some(cap) = caps.beyond(after) {
            reached = Some(cap);
            break;
        }
        reserved = after;
        let line = line(&request.key, &request.body);
        if part.as_ref().is_some_and(|part| !part.has_room(&line)) {
            said.extend(part.take().map(|part| part.finish(journal)).transpose()?);
        }
        let mut now = match part.take() {
            Some(part) => part,
            None => {
                free(&path_of(path, said.len()))?;
                Part::begin(path, journal.num_batches() + 1, said.len())?
            }
        };
        let (key, most) = (request.key.clone(), request.most);
        let (tokens_in, tokens_out, batch) = (most.tokens_in, most.tokens_out, Some(now.number));
        now.add(&line, Entry::Sent { key, tokens_in, tokens_out, batch })?;
        written.insert(request.key);
        part = Some(now);
    }
    said.extend(part.map(|part| part.finish(journal)).transpose()?);
    let left = wanted.len() - written.len();
    match reached {
        Some(cap) if written.is_empty() => Err(CurateError::Usage(format!("{cap} is reached: raise it"))),
        Some(cap) => Ok(format!("{}\n{cap} is reached: {left} more requests are wanted", said.join("\n"))),
        None => Ok(said.join("\n")),
    }
}

/// Writes what is under way in batch files once more, as it was. None if nothing is.
fn write_again(
    path: &Path,
    wanted: &[Wanted],
    plan: &Plan<'_>,
    journal: &Journal,
) -> Result<Option<String>, CurateError> {
    if journal.in_batches().next().is_none() {
        return Ok(None);
    }
    let (mut files, mut written) = (BTreeMap::new(), HashSet::new());
    for one in wanted {
        let request = plan.request(one)?;
        let Some(number) = journal.batch_of(&request.key) else { continue };
        if !written.insert(request.key.clone()) {
            continue;
        }
        let place = files.len();
        let part = match files.entry(number) {
            std::collections::btree_map::Entry::Occupied(part) => part.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Part::begin(path, number, place)?),
        };
        part.file.line(&line(&request.key, &request.body))?;
        part.keys.push(request.key);
    }
    if written.is_empty() {
        return Ok(None);
    }
    for part in files.values().filter(|part| !has_requests(part.file.path(), &part.keys)) {
        free(part.file.path())?;
    }
    for part in files.into_values() {
        part.file.finish()?;
    }
    Ok(Some(format!(
        "{}: the {} requests that were written before and of which nothing was read back (--batch-in): submit each once",
        path.display(),
        written.len()
    )))
}

/// Checks that there is no file at `path`; what is no file (a pipe, a terminal) can be written to.
fn free(path: &Path) -> Result<(), CurateError> {
    match path.symlink_metadata() {
        Ok(there) if there.is_file() => Err(CurateError::Usage(format!(
            "{}: is there, and has not just the requests that would be written: nothing is overwritten, choose another \
             --batch-out",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Whether the file at `path` has exactly these requests, whose names are hashes of what they say.
fn has_requests(path: &Path, keys: &[String]) -> bool {
    let mut found = Vec::new();
    let read = for_each_object(path, &["custom_id", "response", "error", "body"], |_, line: Line| {
        match line.body {
            Some(_) => found.push(line.custom_id),
            None => return Err("no request".into()),
        }
        Ok(())
    });
    read.is_ok() && found == keys
}

fn line(key: &str, body: &str) -> String {
    format!(r#"{{"custom_id":"{key}","method":"POST","url":"/v1/chat/completions","body":{body}}}"#)
}

/// The path of the file with this place, from 0.
fn path_of(path: &Path, place: usize) -> PathBuf {
    if place == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}.{}{ending}", place + 1))
}

impl Part {
    fn begin(path: &Path, number: u32, place: usize) -> Result<Self, CurateError> {
        let file = WholeFile::create(&path_of(path, place))?;
        Ok(Self { number, file, bytes: 0, entries: Vec::new(), keys: Vec::new() })
    }

    fn has_room(&self, line: &str) -> bool {
        self.entries.len() < MAX_REQUESTS && self.bytes + line.len() < MAX_BYTES
    }

    fn add(&mut self, line: &str, entry: Entry) -> Result<(), CurateError> {
        self.file.line(line)?;
        self.bytes += line.len() + 1;
        self.entries.push(entry);
        Ok(())
    }

    /// Counts its requests as sent, and only then gives the file its name.
    fn finish(self, journal: &mut Journal) -> Result<String, CurateError> {
        let (count, path) = (self.entries.len(), self.file.path().display().to_string());
        journal.write(self.entries)?;
        self.file.finish()?;
        Ok(format!("{path}: {count} requests"))
    }
}

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
}

/// Reads what came back of batches into the journal, in any order. Returns what to say.
///
/// A file of requests is what was never submitted: its requests are as if they had not been written.
///
/// # Errors
/// A file cannot be read, or a line is none of a batch's.
pub fn read(files: &[PathBuf], journal: &mut Journal) -> Result<String, CurateError> {
    let of_batches: BTreeMap<String, u32> = journal.in_batches().map(|(key, batch)| (key.to_owned(), batch)).collect();
    let (mut read, mut seen, mut came_back) = (Read::default(), HashSet::new(), BTreeSet::new());
    for file in files {
        let mut entries = Vec::new();
        for_each_object(file, &["custom_id", "response", "error", "body"], |_, line: Line| {
            let key = line.custom_id;
            if journal.known(&key).is_some() || seen.contains(&key) {
                read.again += 1;
                return Ok(());
            }
            match of_batches.get(&key) {
                Some(batch) => _ = came_back.insert(*batch),
                // An answer that comes after others of its file is paid like them.
                None if journal.was_in_batch(&key) && line.response.is_some() => {}
                None => {
                    read.others += 1;
                    return Ok(());
                }
            }
            let entry = match (line.response, line.error.filter(|error| !error.is_null()), line.body) {
                (Some(response), _, _) => {
                    entry(judge(response.status_code, &response.body.to_string(), None), &key, journal)
                }
                (None, Some(_), _) => Entry::Failed { key: key.clone() },
                (None, None, Some(_)) => Entry::NotSent { key: key.clone() },
                (None, None, None) => return Err("neither \"response\" nor \"error\": no line of a batch".into()),
            };
            match &entry {
                Entry::Answered(_) => read.answered += 1,
                Entry::Refused { .. } => read.refused += 1,
                Entry::NotSent { .. } => read.given_back += 1,
                _ => read.failed += 1,
            }
            seen.insert(key);
            entries.push(entry);
            if entries.len() == TOGETHER {
                journal.write(std::mem::take(&mut entries))?;
            }
            Ok(())
        })?;
        journal.write(entries)?;
    }
    let missing: Vec<Entry> = of_batches
        .into_iter()
        .filter(|(key, batch)| came_back.contains(batch) && journal.batch_of(key).is_some())
        .map(|(key, _)| Entry::Lost { key })
        .collect();
    let num_missing = missing.len();
    journal.write(missing)?;
    let Read { answered, refused, failed, given_back, again, others } = read;
    let all = [
        (answered, "answers"),
        (refused, "requests that the server refused"),
        (failed, "errors, which are asked again"),
        (num_missing as u64, "requests that did not come back, which are asked again"),
        (given_back, "requests that were not submitted"),
        (again, "lines that had been read before"),
        (others, "lines of other requests"),
    ];
    let said: Vec<String> = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    Ok(format!("read: {}", if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }))
}

fn entry(reply: Reply, key: &str, journal: &Journal) -> Entry {
    let key = key.to_owned();
    match reply {
        Reply::Answered(answer) => {
            let most = journal.most(&key);
            Entry::Answered(Answered::new(key, answer, most))
        }
        Reply::Refused { status, reason } => Entry::Refused { key, status, reason },
        Reply::Again { used: MayHaveUsed::All, .. } => Entry::Lost { key },
        Reply::Again { .. } | Reply::Stop(_) => Entry::Failed { key },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_files_are_numbered() {
        assert_eq!(path_of(Path::new("a/b.jsonl"), 0), Path::new("a/b.jsonl"));
        assert_eq!(path_of(Path::new("a/b.jsonl"), 1), Path::new("a/b.2.jsonl"));
        assert_eq!(path_of(Path::new("b"), 2), Path::new("b.3"));
    }
}
