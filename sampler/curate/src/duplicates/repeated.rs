//! Rows that have a key which a row before them has.
//!
//! Keys are dealt to files by their value, so that equal ones meet in one, and each file is read past a table of its
//! distinct keys. A row is repeated if it is not the first with its key, so neither the order in which threads work nor
//! a key that half of all rows have makes a difference.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hash, Hasher};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::key_file::words;
use super::marks::Marks;
use super::spans::{Span, Units, in_threads};
use crate::error::CurateError;

/// Distinct keys of a file, a little less than what a table with 2²² places holds. A table has 71 MiB for the keys of a
/// band, and 105 MiB for those of whole texts; a thread has one.
const KEYS: u64 = 3_600_000;
/// Bytes that a thread collects for a file before it writes them.
const BUFFER: usize = 1 << 15;

/// A column of keys, as far as it is to be gone through.
pub trait KeysOf<const N: usize>: Sync {
    /// Calls `visit` with each row of a span, by its number among all, and its key.
    ///
    /// # Errors
    /// The operating system's.
    fn visit(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(u64, [u64; N]) -> Result<(), CurateError>,
    ) -> Result<(), CurateError>;
}

/// Marks each row whose key a row before it has. `scratch` is a folder, which holds 8 N + 8 bytes a row meanwhile.
///
/// # Errors
/// The operating system's.
pub fn mark_repeated<const N: usize>(
    units: &Units<'_>,
    keys: &impl KeysOf<N>,
    marks: &Marks,
    scratch: &Path,
    threads: usize,
) -> Result<(), CurateError> {
    let count = (units.rows().div_ceil(KEYS) as usize).max(threads);
    let files = Files::create(scratch, count)?;
    units.each_span(
        threads,
        || vec![Vec::new(); count],
        |buffers, span| {
            keys.visit(span, &mut |row, key| {
                // The high bits choose the file: it is the key as a fraction of 2^64, times the number of files.
                let file = ((u128::from(key[0]) * count as u128) >> 64) as usize;
                let buffer = &mut buffers[file];
                key.iter().chain([&row]).for_each(|word| buffer.extend_from_slice(&word.to_le_bytes()));
                if buffer.len() >= BUFFER {
                    files.write(file, buffer)?;
                    buffer.clear();
                }
                Ok(())
            })
        },
        |buffers| buffers.iter().enumerate().try_for_each(|(file, buffer)| files.write(file, buffer)),
    )?;
    let table = || HashMap::with_capacity_and_hasher(KEYS.min(2 * units.rows()) as usize, OfHash);
    in_threads(threads, count, table, |first, file| files.mark::<N>(file, first, marks), |_| Ok(()))
}

/// Files that keys are dealt to.
struct Files(Vec<(PathBuf, Mutex<File>)>);

impl Files {
    fn create(scratch: &Path, count: usize) -> Result<Self, CurateError> {
        let create = |i| {
            let path = scratch.join(format!("keys-{i:05}"));
            let file = File::create(&path).map_err(CurateError::io(&path))?;
            Ok((path, Mutex::new(file)))
        };
        (0..count).map(create).collect::<Result<_, _>>().map(Self)
    }

    fn write(&self, file: usize, bytes: &[u8]) -> Result<(), CurateError> {
        let (path, file) = &self.0[file];
        // Only a thread that panicked leaves the lock poisoned, and its panic is passed on.
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(bytes).map_err(CurateError::io(path))
    }

    /// Reads a file, marks its repeated rows and removes it.
    fn mark<const N: usize>(
        &self,
        file: usize,
        first: &mut HashMap<Key<N>, u64, OfHash>,
        marks: &Marks,
    ) -> Result<(), CurateError> {
        let (path, _) = &self.0[file];
        first.clear();
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(CurateError::io(path))?);
        let len = reader.get_ref().metadata().map_err(CurateError::io(path))?.len();
        let mut bytes = vec![0; 8 * (N + 1)];
        for _ in 0..len / bytes.len() as u64 {
            reader.read_exact(&mut bytes).map_err(CurateError::io(path))?;
            let (key, row) = bytes.split_at(8 * N);
            let [row] = words::<1>(row);
            match first.entry(Key(words(key))) {
                Entry::Vacant(place) => {
                    place.insert(row);
                }
                Entry::Occupied(mut there) => {
                    let (kept, repeated) = (row.min(*there.get()), row.max(*there.get()));
                    there.insert(kept);
                    marks.set(repeated);
                }
            }
        }
        fs::remove_file(path).map_err(CurateError::io(path))
    }
}

/// A key, which is a hash already.
#[derive(PartialEq, Eq)]
struct Key<const N: usize>([u64; N]);

impl<const N: usize> Hash for Key<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Takes a key for its own hash.
struct OfHash;

impl BuildHasher for OfHash {
    type Hasher = Itself;

    fn build_hasher(&self) -> Itself {
        Itself(0)
    }
}

struct Itself(u64);

impl Hasher for Itself {
    fn write(&mut self, _: &[u8]) {
        // A key writes one number.
    }

    fn write_u64(&mut self, key: u64) {
        // The high bits are alike in a file.
        self.0 = key.rotate_left(32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
