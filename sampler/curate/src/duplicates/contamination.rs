//! Rows with a text of a benchmark.
//!
//! Benchmarks' keys are written once, to a file a benchmark. Then one column of them after the other is brought into
//! memory, as many keys at a time as [`BLOCK`] says, and the same column of both texts of all rows is read past it.
//! Near queries were looked for when rows were read (`queries`), and have a column of their own.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::benchmarks::Benchmark;
use super::key_file::{KeyFile, KeyWriter};
use super::keys::{RowLayout, Side, TextKeys, near_query, text_layout};
use super::marks::{Marked, MarkedRows, Marks, marked_bytes};
use super::recipe::{Compared, DuplicatesRecipe};
use super::spans::{Span, Units, in_threads};
use crate::error::CurateError;

/// Benchmarks' keys that are in memory at a time: 96 MiB, and 8 MiB for the bits that tell most others from them.
pub const BLOCK: usize = 1 << 22;

/// Writes the keys of benchmarks into `scratch`, in their order.
///
/// # Errors
/// The operating system's; a benchmark cannot be read.
pub fn write_keys(
    benchmarks: &[Benchmark],
    recipe: &DuplicatesRecipe,
    scratch: &Path,
    threads: usize,
) -> Result<Vec<KeyFile>, CurateError> {
    let layout = text_layout(recipe);
    let path = |i: usize| scratch.join(format!("benchmark-{i:05}"));
    let begin = || (TextKeys::of(recipe), Vec::new());
    let work = |(texts, keys): &mut (TextKeys, Vec<u64>), i: usize| {
        let mut file = KeyWriter::create(&path(i), layout.clone(), Compared::Passage)?;
        benchmarks[i].for_each_text(recipe.documents, &mut |text| {
            keys.clear();
            keys.extend([0; 2]);
            let (whole, _) = texts.keys(text, true, keys);
            keys[..2].copy_from_slice(&whole);
            file.add(keys)
        })?;
        file.finish()
    };
    in_threads(threads, benchmarks.len(), begin, work, |_| Ok(()))?;
    (0..benchmarks.len()).map(|i| KeyFile::open(&path(i), &layout)).collect()
}

/// Rows that were found, with their benchmarks: in files, as all rows may be among them.
pub struct Hits {
    dir: PathBuf,
    /// A lock a unit, as threads work on pieces of one.
    locks: Vec<Mutex<()>>,
    marks: Marks,
}

impl Hits {
    /// Finds them among `units`, for benchmarks with these files of keys, of which `block` are in memory at a time.
    ///
    /// # Errors
    /// The operating system's.
    pub fn find(
        units: &Units<'_>,
        layout: &RowLayout,
        benchmarks: &[KeyFile],
        block: usize,
        (scratch, threads): (&Path, usize),
    ) -> Result<Self, CurateError> {
        let locks = units.files.iter().map(|_| Mutex::new(())).collect();
        let hits = Self { dir: scratch.to_owned(), locks, marks: Marks::new(units.rows()) };
        let sides = |band| [Side::Query, Side::Passage].map(|side| layout.text_column(side, band));
        each_block::<2>(benchmarks, 0, block, &mut |known| hits.compare(units, sides(None), known, threads))?;
        for band in 0..layout.bands() {
            let columns = sides(Some(band));
            each_block::<1>(benchmarks, 1 + band, block, &mut |known| hits.compare(units, columns, known, threads))?;
        }
        hits.look(units, &[layout.query_column()], near_query, threads)?;
        Ok(hits)
    }

    /// Compares two columns of all rows.
    fn compare<const N: usize>(
        &self,
        units: &Units<'_>,
        sides: [usize; 2],
        known: &Known<N>,
        threads: usize,
    ) -> Result<(), CurateError> {
        self.look(units, &sides, |key| known.get(key), threads)
    }

    /// Looks at columns of all rows. A row counts for the benchmark that is found first: whole texts, near ones, near
    /// queries. Which that is does not depend on threads, as a piece of a unit is one thread's.
    fn look<const N: usize>(
        &self,
        units: &Units<'_>,
        columns_of_rows: &[usize],
        benchmark: impl Fn([u64; N]) -> Option<u16> + Sync,
        threads: usize,
    ) -> Result<(), CurateError> {
        let begin = || (Vec::new(), Vec::new());
        let work = |(keys, found): &mut (Vec<[u64; N]>, Vec<u8>), span: &Span| {
            let columns = units.files[span.unit].columns()?;
            for chunk in span.chunks.clone() {
                for column in columns_of_rows {
                    columns.read(chunk, *column, keys)?;
                    for (row, key) in columns.rows(chunk).zip(&*keys) {
                        let Some(benchmark) = benchmark(*key) else { continue };
                        if !self.marks.set(units.start(span.unit) + row) {
                            // A unit has fewer than 2^32 rows.
                            found.extend_from_slice(&marked_bytes((row as u32, benchmark)));
                        }
                    }
                }
            }
            self.append(span.unit, found)?;
            found.clear();
            Ok(())
        };
        units.each_span(threads, begin, work, |_| Ok(()))
    }

    fn path(&self, unit: usize) -> PathBuf {
        self.dir.join(format!("hits-{unit:05}"))
    }

    fn append(&self, unit: usize, found: &[u8]) -> Result<(), CurateError> {
        if found.is_empty() {
            return Ok(());
        }
        // Only a thread that panicked leaves the lock poisoned, and its panic is passed on.
        let _alone = self.locks[unit].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = self.path(unit);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.and_then(|mut file| file.write_all(found)).map_err(CurateError::io(&path))
    }

    /// The rows of a unit, ascending: eight bytes in memory for each.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of_unit(&self, unit: usize) -> Result<Vec<Marked>, CurateError> {
        let path = self.path(unit);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let mut rows = MarkedRows::open(&path)?.collect::<Result<Vec<_>, _>>()?;
        rows.sort_unstable();
        Ok(rows)
    }
}

/// Keys of benchmarks that are looked for.
struct Known<const N: usize> {
    /// Ascending, with the number of the benchmark.
    keys: Vec<([u64; N], u16)>,
    /// A bit for each value of a key's highest bits: whether a key begins so.
    bits: Vec<u64>,
    shift: u32,
}

impl<const N: usize> Known<N> {
    fn of(mut keys: Vec<([u64; N], u16)>) -> Self {
        keys.sort_unstable();
        // The first benchmark of those that have the text.
        keys.dedup_by_key(|(key, _)| *key);
        let size = (keys.len() * 16).next_power_of_two().max(64);
        let shift = 64 - size.ilog2();
        let mut bits = vec![0; size / 64];
        for (key, _) in &keys {
            let bit = key[0] >> shift;
            bits[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        Self { keys, bits, shift }
    }

    #[inline]
    fn get(&self, key: [u64; N]) -> Option<u16> {
        let bit = key[0] >> self.shift;
        if self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 0 {
            return None;
        }
        let at = self.keys.partition_point(|(known, _)| *known < key);
        self.keys.get(at).filter(|(known, _)| *known == key).map(|(_, benchmark)| *benchmark)
    }
}

/// Calls `work` with the keys in `column` of all benchmarks, `block` of them at a time.
fn each_block<const N: usize>(
    benchmarks: &[KeyFile],
    column: usize,
    block: usize,
    work: &mut dyn FnMut(&Known<N>) -> Result<(), CurateError>,
) -> Result<(), CurateError> {
    let total: u64 = benchmarks.iter().map(|file| file.rows).sum();
    let capacity = total.min(block as u64) as usize;
    let (mut block, mut keys) = (Vec::with_capacity(capacity), Vec::new());
    for (benchmark, file) in benchmarks.iter().enumerate() {
        let columns = file.columns()?;
        for chunk in 0..file.chunks() {
            columns.read::<N>(chunk, column, &mut keys)?;
            for key in &keys {
                if block.len() == capacity {
                    let known = Known::of(block);
                    work(&known)?;
                    block = known.keys;
                    block.clear();
                }
                // There are fewer than 2^16 benchmarks.
                block.push((*key, benchmark as u16));
            }
        }
    }
    work(&Known::of(block))
}
