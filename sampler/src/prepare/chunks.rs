//! Lines of several files in chunks, read ahead by a thread of their own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::error::{PrepareError, RowError};
use crate::rows::LineReader;

/// A chunk ends with the line that reaches one of these.
const CHUNK_LINES: usize = 4096;
const CHUNK_BYTES: usize = 16 << 20;

/// A line's number in its file, and the line or what is wrong with it.
pub(super) type NumberedLine = (u64, Result<Vec<u8>, String>);

/// Lines of one file that are tokenised together.
pub(super) struct Chunk {
    /// Which of the files.
    pub(super) source: usize,
    /// In order.
    pub(super) lines: Vec<NumberedLine>,
    /// Bytes read from all files so far, as they lie on disk.
    pub(super) input_bytes: u64,
}

/// Hands the lines of all files to `consume`, in order. Two chunks at most wait meanwhile.
///
/// # Errors
/// A file cannot be opened or read to its end, or `consume` fails.
pub(super) fn read_chunks(
    paths: &[PathBuf],
    mut consume: impl FnMut(Chunk) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || send_chunks(paths, &sender));
        // On an error the receiver is dropped, which ends the reading thread.
        for chunk in receiver {
            consume(chunk?)?;
        }
        Ok(())
    })
}

fn send_chunks(paths: &[PathBuf], sender: &SyncSender<Result<Chunk, RowError>>) {
    let input_bytes = Arc::new(AtomicU64::new(0));
    for (source, path) in paths.iter().enumerate() {
        let mut reader = match LineReader::open_counting(path, input_bytes.clone()) {
            Ok(reader) => reader,
            Err(e) => {
                // Nobody may be listening any more; then there is nobody to tell.
                let _ = sender.send(Err(e));
                return;
            }
        };
        loop {
            let (lines, end) = next_lines(&mut reader);
            let chunk = Chunk { source, lines, input_bytes: input_bytes.load(Ordering::Relaxed) };
            if sender.send(Ok(chunk)).is_err() {
                return;
            }
            match end {
                End::OfChunk => {}
                End::OfFile => break,
                End::Failed(e) => {
                    let _ = sender.send(Err(e));
                    return;
                }
            }
        }
    }
}

/// Why a chunk has no further line.
enum End {
    OfChunk,
    OfFile,
    Failed(RowError),
}

fn next_lines(reader: &mut LineReader) -> (Vec<NumberedLine>, End) {
    let mut lines = Vec::new();
    let mut bytes = 0;
    while lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
        let mut line = Vec::new();
        match reader.read_line(&mut line) {
            Ok(Some(number)) => {
                bytes += line.len();
                lines.push((number, Ok(line)));
            }
            Ok(None) => return (lines, End::OfFile),
            Err(RowError::Line { line, reason, .. }) => lines.push((line, Err(reason))),
            Err(e) => return (lines, End::Failed(e)),
        }
    }
    (lines, End::OfChunk)
}
