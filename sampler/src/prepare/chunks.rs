//! Reads the rows or texts of several files in chunks, ahead, in a thread of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use serde::{Deserialize, Serialize};

use crate::error::{PrepareError, RowError};
use crate::place::Place;
use crate::records::Numbered;
use crate::rows::RecordSource;

/// A chunk ends with the row that reaches one of these.
const CHUNK_ROWS: usize = 4096;
const CHUNK_BYTES: usize = 16 << 20;

/// Rows of one file that are tokenised together.
pub(super) struct Chunk<R> {
    /// The index of the file.
    pub(super) source: usize,
    /// How its rows are numbered.
    pub(super) place: Place,
    /// The rows in order.
    pub(super) rows: Vec<Numbered<R>>,
    /// The number of bytes read from all files so far, counted as stored on disk.
    pub(super) input_bytes: u64,
}

/// A position after row or line `number` of file `source`, or inside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) source: usize,
    pub(super) number: u64,
    /// If above 0, the position is inside a text that is split, after this number of its parts.
    #[serde(default)]
    pub(super) parts: usize,
}

impl Position {
    /// The last row or line of the file that is done with.
    fn passed(self) -> u64 {
        self.number - u64::from(self.parts > 0)
    }
}

/// Hands the rows of all files after `start` to `consume`, in order. At most two chunks wait meanwhile.
///
/// # Errors
/// A file cannot be opened or read to its end, or `consume` fails.
pub(super) fn read_chunks<S: RecordSource>(
    paths: &[PathBuf],
    start: Position,
    mut consume: impl FnMut(Chunk<S::Raw>) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        scope.spawn(move || {
            if let Err(e) = send_chunks::<S>(paths, start, &sender) {
                // If the receiver is gone, there is nobody to tell.
                let _ = sender.send(Err(e));
            }
        });
        // On an error the receiver is dropped, which ends the reading thread.
        for chunk in receiver {
            consume(chunk?)?;
        }
        Ok(())
    })
}

fn send_chunks<S: RecordSource>(
    paths: &[PathBuf],
    start: Position,
    sender: &SyncSender<Result<Chunk<S::Raw>, RowError>>,
) -> Result<(), RowError> {
    let input_bytes = Arc::new(AtomicU64::new(0));
    for (source, path) in paths.iter().enumerate() {
        if source < start.source {
            let passed = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            input_bytes.fetch_add(passed, Ordering::Relaxed);
            continue;
        }
        let mut reader = S::open(path, input_bytes.clone())?;
        if source == start.source {
            reader.skip_to(start.passed())?;
        }
        loop {
            let (rows, end) = next_rows(&mut reader);
            let input_bytes = input_bytes.load(Ordering::Relaxed);
            if sender.send(Ok(Chunk { source, place: reader.place(), rows, input_bytes })).is_err() {
                return Ok(());
            }
            match end {
                End::OfChunk => {}
                End::OfFile => break,
                End::Failed(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Why a chunk has no further row.
enum End {
    OfChunk,
    OfFile,
    Failed(RowError),
}

fn next_rows<S: RecordSource>(reader: &mut S) -> (Vec<Numbered<S::Raw>>, End) {
    let mut rows = Vec::new();
    let mut bytes = 0;
    while rows.len() < CHUNK_ROWS && bytes < CHUNK_BYTES {
        match reader.next() {
            Ok(Some((number, row))) => {
                bytes += row.as_ref().map_or(0, S::len);
                rows.push((number, row));
            }
            Ok(None) => return (rows, End::OfFile),
            Err(e) => return (rows, End::Failed(e)),
        }
    }
    (rows, End::OfChunk)
}
