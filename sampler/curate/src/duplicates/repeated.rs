//! Rows that have a key which a row before them has.
//!
//! Keys are dealt to files by their value, so that equal ones meet in one, and each file is read past a table of its
//! distinct keys. More files than [`WIDTH`] are not open at a time: keys are then dealt to groups of files, and each
//! group again, one after the other. A row is repeated if it is not the first with its key, so neither the order in
//! which threads work nor a key that half of all rows have makes a difference.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hash, Hasher};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::FileExt;
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
/// Files that keys are dealt to at a time: a process may have 1,024 open. Twice dealt, keys of 200,000 million rows
/// have tables of this size.
const WIDTH: usize = 256;
/// Keys that a thread reads at a time of a group that is dealt again.
const AT_A_TIME: u64 = 1 << 14;

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
    let count = (units.rows().div_ceil(KEYS) as usize).max(threads.min(WIDTH));
    mark_by(units, keys, marks, (scratch, threads), (count, WIDTH))
}

/// [`mark_repeated`] by `count` files or a few more, of which no more than `width` are open at a time, as far as two
/// times of dealing make that possible.
fn mark_by<const N: usize>(
    units: &Units<'_>,
    keys: &impl KeysOf<N>,
    marks: &Marks,
    (scratch, threads): (&Path, usize),
    (count, width): (usize, usize),
) -> Result<(), CurateError> {
    let groups = if count <= width { count } else { count.div_ceil(width) };
    let parts = count.div_ceil(groups);
    let files = Files::create(scratch, "keys", groups)?;
    units.each_span(
        threads,
        || vec![Vec::new(); groups],
        |buffers, span| {
            keys.visit(span, &mut |row, key| {
                let words = key.iter().chain([&row]).map(|word| word.to_le_bytes());
                files.put(place_of(key[0], groups), words, buffers)
            })
        },
        |buffers| files.put_rest(&buffers),
    )?;
    let table = || HashMap::with_capacity_and_hasher(KEYS.min(2 * units.rows()) as usize, OfHash);
    let mark = |files: &Files, count| {
        in_threads(threads, count, table, |first, file| files.mark::<N>(file, first, marks), |_| Ok(()))
    };
    if parts == 1 {
        return mark(&files, groups);
    }
    for group in 0..groups {
        let of_group = Files::create(scratch, "keys-again", parts)?;
        files.deal_again::<N>(group, (groups, parts), &of_group, threads)?;
        mark(&of_group, parts)?;
    }
    Ok(())
}

/// The place of a key among `count`, as its high bits say: it is the key as a fraction of 2^64, times `count`.
fn place_of(key: u64, count: usize) -> usize {
    ((u128::from(key) * count as u128) >> 64) as usize
}

/// Files that keys are dealt to.
struct Files(Vec<(PathBuf, Mutex<File>)>);

impl Files {
    fn create(scratch: &Path, name: &str, count: usize) -> Result<Self, CurateError> {
        let create = |i| {
            let path = scratch.join(format!("{name}-{i:05}"));
            let file = File::create(&path).map_err(CurateError::io(&path))?;
            Ok((path, Mutex::new(file)))
        };
        (0..count).map(create).collect::<Result<_, _>>().map(Self)
    }

    /// Puts a key and its row into a file, by way of the thread's buffers.
    fn put(
        &self,
        file: usize,
        words: impl Iterator<Item = [u8; 8]>,
        buffers: &mut [Vec<u8>],
    ) -> Result<(), CurateError> {
        let buffer = &mut buffers[file];
        words.for_each(|word| buffer.extend_from_slice(&word));
        if buffer.len() >= BUFFER {
            self.write(file, buffer)?;
            buffer.clear();
        }
        Ok(())
    }

    /// Puts what is left in the thread's buffers into the files.
    fn put_rest(&self, buffers: &[Vec<u8>]) -> Result<(), CurateError> {
        buffers.iter().enumerate().try_for_each(|(file, buffer)| self.write(file, buffer))
    }

    /// Deals the keys of file `group`, one of `groups`, to `parts` files, and removes it.
    fn deal_again<const N: usize>(
        &self,
        group: usize,
        (groups, parts): (usize, usize),
        to: &Self,
        threads: usize,
    ) -> Result<(), CurateError> {
        let (path, _) = &self.0[group];
        let file = File::open(path).map_err(CurateError::io(path))?;
        let key_bytes = 8 * (N + 1);
        let at_a_time = AT_A_TIME * key_bytes as u64;
        let len = file.metadata().map_err(CurateError::io(path))?.len();
        let begin = || (vec![Vec::new(); parts], Vec::new());
        let work = |(buffers, bytes): &mut (Vec<Vec<u8>>, Vec<u8>), piece: usize| {
            let from = piece as u64 * at_a_time;
            bytes.resize(at_a_time.min(len - from) as usize, 0);
            file.read_exact_at(bytes, from).map_err(CurateError::io(path))?;
            bytes.chunks_exact(key_bytes).try_for_each(|key| {
                let (key, _) = key.as_chunks::<8>();
                let file = place_of(u64::from_le_bytes(key[0]), groups * parts) % parts;
                to.put(file, key.iter().copied(), buffers)
            })
        };
        let pieces = len.div_ceil(at_a_time) as usize;
        in_threads(threads, pieces, begin, work, |(buffers, _)| to.put_rest(&buffers))?;
        fs::remove_file(path).map_err(CurateError::io(path))
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

#[cfg(test)]
mod tests {
    use super::super::keys::{RowLayout, UnitKeys};
    use super::super::mixing::mix;
    use super::super::queries::Queries;
    use super::super::recipe::{Compared, DuplicatesRecipe, Near};
    use super::*;

    /// Different keys, one after the other again and again.
    const KEYS_OF_ALL: u64 = 700;

    struct InTurn<'a>(&'a Units<'a>);

    impl KeysOf<1> for InTurn<'_> {
        fn visit(
            &self,
            span: &Span,
            visit: &mut dyn FnMut(u64, [u64; 1]) -> Result<(), CurateError>,
        ) -> Result<(), CurateError> {
            let columns = self.0.files[span.unit].columns()?;
            let rows = span.chunks.clone().flat_map(|chunk| columns.rows(chunk));
            let mut rows = rows.map(|row| self.0.start(span.unit) + row);
            rows.try_for_each(|row| visit(row, [mix(row % KEYS_OF_ALL)]))
        }
    }

    #[test]
    fn keys_that_are_dealt_twice_are_marked_as_those_dealt_once() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = DuplicatesRecipe { near: Near::None, ..DuplicatesRecipe::default() };
        let layout = RowLayout::of(&recipe);
        let files: Vec<_> = [100_000, 0, 50_000]
            .iter()
            .enumerate()
            .map(|(unit, rows)| {
                let path = dir.path().join(format!("unit-{unit}"));
                let queries = Queries::default();
                let mut keys = UnitKeys::create(&path, (&recipe, &queries), Compared::Passage).unwrap();
                (0..*rows).for_each(|_| keys.add("q", "p").unwrap());
                keys.finish().unwrap();
                layout.open(&path).unwrap()
            })
            .collect();
        let units = Units::of(&files);
        let scratch = dir.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        for (count, width) in [(1, 256), (3, 256), (20, 4), (64, 8), (7, 2), (257, 256)] {
            for threads in [1, 3] {
                let marks = Marks::new(units.rows());
                mark_by(&units, &InTurn(&units), &marks, (&scratch, threads), (count, width)).unwrap();
                let wrong = (0..units.rows()).find(|row| marks.has(*row) != (*row >= KEYS_OF_ALL));
                assert_eq!(wrong, None, "{count} files, {width} at a time, {threads} threads");
                assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
            }
        }
    }
}
