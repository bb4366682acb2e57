//! Requests as files of OpenAI's batch interface, which `vllm run-batch` reads as well, and their answers read back.
//!
//! What stands in such a file counts as sent until it has been read back: it is written into no other file, and is not
//! sent over HTTP.

mod read;
mod write;

use super::journal::Ledger;

pub use read::read;
pub use write::write;

/// What is open in batch files, in words: "26 requests in requests.jsonl". None: nothing is.
pub fn open(ledger: &Ledger) -> Option<String> {
    let of = |(file, count): (Option<&str>, usize)| format!("{count} requests in {}", file.unwrap_or("a batch file"));
    let all: Vec<String> = ledger.open_batches().into_values().map(of).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
