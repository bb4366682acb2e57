//! Rows of all units by one number, and pieces of units that threads take one after the other.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::key_file::KeyFile;
use crate::error::CurateError;

/// Chunks of a span: what opening a file for it costs is then little.
const SPAN: u64 = 32;

/// All units, in the order of precedence.
#[derive(Debug)]
pub struct Units<'a> {
    /// Their files.
    pub files: &'a [KeyFile],
    /// The number of each unit's first row, and of all rows.
    starts: Vec<u64>,
    spans: Vec<Span>,
}

/// A piece of a unit.
#[derive(Debug, Clone)]
pub struct Span {
    /// Which unit.
    pub unit: usize,
    /// Its chunks.
    pub chunks: Range<u64>,
}

impl<'a> Units<'a> {
    /// These.
    pub fn of(files: &'a [KeyFile]) -> Self {
        let mut starts = vec![0];
        let mut spans = Vec::new();
        for (unit, file) in files.iter().enumerate() {
            starts.push(starts[unit] + file.rows);
            let of_unit = (0..file.chunks()).step_by(SPAN as usize);
            spans.extend(of_unit.map(|from| Span { unit, chunks: from..(from + SPAN).min(file.chunks()) }));
        }
        Self { files, starts, spans }
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.starts[self.files.len()]
    }

    /// The number of a unit's first row.
    pub fn start(&self, unit: usize) -> u64 {
        self.starts[unit]
    }

    /// Calls `work` with each span, on as many threads. Each thread has a state of its own, which `begin` makes and
    /// which `end` takes.
    ///
    /// # Errors
    /// One of those that these end with.
    pub fn each_span<S>(
        &self,
        threads: usize,
        begin: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &Span) -> Result<(), CurateError> + Sync,
        end: impl Fn(S) -> Result<(), CurateError> + Sync,
    ) -> Result<(), CurateError> {
        in_threads(threads, self.spans.len(), begin, |state, i| work(state, &self.spans[i]), end)
    }
}

/// Calls `work` with each number below `count`, on as many threads as are asked for.
///
/// # Errors
/// One of those that `work` and `end` end with; then not all numbers are worked on.
pub fn in_threads<S>(
    threads: usize,
    count: usize,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), CurateError> + Sync,
    end: impl Fn(S) -> Result<(), CurateError> + Sync,
) -> Result<(), CurateError> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut state = begin();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return end(state);
            }
            if let Err(error) = work(&mut state, i) {
                // The others stop as well.
                next.store(count, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(one)).collect();
        let own = one();
        let joined =
            others.into_iter().map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.fold(own, Result::and)
    })
}
