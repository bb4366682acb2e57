//! Batch files written.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::super::caps::{Caps, Used};
use super::super::journal::{Entry, Journal};
use super::super::plan::{Plan, Wanted};
use super::open;
use crate::error::CurateError;
use crate::output::{Partial, WholeFile};

/// Requests of a file at most, as OpenAI limits it.
const MAX_REQUESTS: usize = 50_000;
/// Bytes of a file at most, likewise.
const MAX_BYTES: usize = 200_000_000;

/// A file that is being written.
struct Part {
    file: WholeFile,
    requests: usize,
    bytes: usize,
}

/// Writes those of the wanted requests to `path` that stand in no batch file yet, or all of them `again`; and to `path`
/// with .2, .3, … before its ending when it is full. Returns what to say.
///
/// All files are complete before their requests are counted as sent, and only then get their names. So of a process
/// that is killed nothing is counted, or the same command names what is left to be named.
///
/// # Errors
/// A cap keeps requests from being written; those before it are. All stand in other files already. A file is there. The
/// operating system's.
pub fn write(
    (path, again): (&Path, bool),
    wanted: &[Wanted],
    plan: &Plan<'_>,
    caps: &Caps,
    journal: &mut Journal,
) -> Result<String, CurateError> {
    name_complete(journal)?;
    let (mut parts, mut entries, mut seen): (Vec<Part>, _, _) = (Vec::new(), Vec::new(), HashSet::new());
    let (mut most, mut reached, mut left, mut standing) = (Used::default(), None, 0, 0);
    for one in wanted {
        let request = plan.request(one)?;
        if !seen.insert(request.key.clone()) {
            continue;
        }
        if !again && journal.ledger().batch_of(&request.key).is_some() {
            standing += 1;
            continue;
        }
        reached = reached.or_else(|| caps.beyond(journal.ledger().used_with(most.plus(request.most))));
        if reached.is_some() {
            left += 1;
            continue;
        }
        most = most.plus(request.most);
        let line = line(&request.key, &request.body);
        if parts.last().is_none_or(|part| !part.has_room(&line)) {
            let place = path_of(path, parts.len());
            free(&place)?;
            entries.push(Entry::Batch { number: number(journal, parts.len()), file: place.display().to_string() });
            parts.push(Part { file: WholeFile::create(&place)?, requests: 0, bytes: 0 });
        }
        let (batch, Used { tokens_in, tokens_out, .. }) = (number(journal, parts.len() - 1), request.most);
        entries.push(Entry::Sent { key: request.key, tokens_in, tokens_out, batch: Some(batch) });
        if let Some(part) = parts.last_mut() {
            part.add(&line)?;
        }
    }
    let mut said = Vec::new();
    let mut files = Vec::with_capacity(parts.len());
    for Part { file, requests, .. } in parts {
        said.push(format!("{}: {requests} requests", file.path().display()));
        files.push(file.complete()?);
    }
    let standing = open(journal.ledger()).filter(|_| standing > 0);
    journal.write(entries)?;
    for file in files {
        file.name()?;
    }
    let none_written = said.is_empty();
    if let Some(standing) = standing {
        let is_own =
            journal.ledger().open_batches().values().any(|(file, _)| file.is_some_and(|f| Path::new(f) == path));
        // The same command once more.
        if none_written && reached.is_none() && !(is_own && path.exists()) {
            return Err(CurateError::Usage(format!(
                "no requests are wanted but those that stand in batch files and have not been read back ({standing}): \
                 read with --batch-in what came back of them, or the files themselves if they were never submitted; \
                 --batch-again writes them once more, which can mean to pay twice"
            )));
        }
        said.push(format!("written before and not read back yet: {standing}"));
    }
    match reached {
        Some(cap) => {
            said.push(format!("{cap} is reached, and {left} more requests are wanted: raise it, and write the rest"));
            Err(CurateError::Usage(said.join("; ")))
        }
        None if said.is_empty() => Ok("no request is wanted".to_owned()),
        None => Ok(said.join("\n")),
    }
}

/// Gives those files their names whose process was killed before it could.
fn name_complete(journal: &Journal) -> Result<(), CurateError> {
    for path in journal.ledger().open_batches().into_values().filter_map(|(file, _)| Some(Path::new(file?))) {
        let partial = Partial::of(path);
        if !path.exists() && partial.place().exists() {
            partial.name().map_err(CurateError::io(path))?;
        }
    }
    Ok(())
}

/// The number of the batch file with this place, from 0, among those that are being written.
fn number(journal: &Journal, place: usize) -> u32 {
    journal.ledger().num_batches() + 1 + place as u32
}

/// Checks that there is no file at `path`; what is no file (a pipe, a terminal) can be written to.
fn free(path: &Path) -> Result<(), CurateError> {
    match path.symlink_metadata() {
        Ok(there) if there.is_file() => Err(CurateError::Usage(format!(
            "{}: is there, and nothing is overwritten: choose another --batch-out",
            path.display()
        ))),
        _ => Ok(()),
    }
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
    fn has_room(&self, line: &str) -> bool {
        self.requests < MAX_REQUESTS && self.bytes + line.len() < MAX_BYTES
    }

    fn add(&mut self, line: &str) -> Result<(), CurateError> {
        self.file.line(line)?;
        self.bytes += line.len() + 1;
        self.requests += 1;
        Ok(())
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
