//! Keys on disk, a file a unit: column after column in chunks of rows, so that one column can be read without the
//! others.
//!
//! Chunks of [`CHUNK`] rows, the last one shorter, and then a trailer of 40 bytes: the format's name, the settings'
//! hash, the number of rows, and what they were asked to be compared by. A file without it was not completed. Numbers
//! are little-endian.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::recipe::Compared;
use crate::error::CurateError;

/// Rows of a chunk.
pub const CHUNK: usize = 8192;
const FORMAT: &[u8; 16] = b"tercet keys 2\0\0\0";
const TRAILER: usize = 40;

/// What a file of keys has to say of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of each column's keys, a multiple of eight.
    pub widths: Vec<usize>,
    /// A hash of what the keys depend on.
    pub settings: u64,
}

impl Layout {
    fn row_bytes(&self) -> usize {
        self.widths.iter().sum()
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct KeyWriter {
    path: PathBuf,
    file: BufWriter<File>,
    layout: Layout,
    compared: Compared,
    rows: u64,
    /// A column each.
    chunk: Vec<Vec<u8>>,
}

impl KeyWriter {
    /// Begins the file `path`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(path: &Path, layout: Layout, compared: Compared) -> Result<Self, CurateError> {
        let file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(CurateError::io(path))?);
        let chunk = layout.widths.iter().map(|width| Vec::with_capacity(width * CHUNK)).collect();
        Ok(Self { path: path.to_owned(), file, layout, compared, rows: 0, chunk })
    }

    /// Adds a row: its columns' keys one after the other.
    ///
    /// # Errors
    /// The operating system's; 2³² rows are there already.
    pub fn add(&mut self, keys: &[u64]) -> Result<(), CurateError> {
        if self.rows == u64::from(u32::MAX) {
            return Err(CurateError::data(&self.path, "more than 4 billion rows of one file: divide that file"));
        }
        let mut rest = keys;
        for (column, width) in self.chunk.iter_mut().zip(&self.layout.widths) {
            let (key, others) = rest.split_at(width / 8);
            key.iter().for_each(|word| column.extend_from_slice(&word.to_le_bytes()));
            rest = others;
        }
        self.rows += 1;
        match self.rows.is_multiple_of(CHUNK as u64) {
            true => self.write_chunk(),
            false => Ok(()),
        }
    }

    fn write_chunk(&mut self) -> Result<(), CurateError> {
        for column in &mut self.chunk {
            self.file.write_all(column).map_err(CurateError::io(&self.path))?;
            column.clear();
        }
        Ok(())
    }

    /// Ends the file, which is then on the disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(mut self) -> Result<(), CurateError> {
        self.write_chunk()?;
        let mut trailer = FORMAT.to_vec();
        for number in [self.layout.settings, self.rows, self.compared as u64] {
            trailer.extend_from_slice(&number.to_le_bytes());
        }
        let written = self.file.write_all(&trailer).and_then(|()| self.file.flush());
        written.and_then(|()| self.file.get_ref().sync_all()).map_err(CurateError::io(&self.path))
    }
}

/// A file to read from.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    layout: Layout,
    /// What its rows are compared by.
    pub compared: Compared,
    /// Its rows.
    pub rows: u64,
}

impl KeyFile {
    /// Looks at the file `path`, which should have this layout.
    ///
    /// # Errors
    /// The operating system's. It is not complete, or of other settings.
    pub fn open(path: &Path, layout: &Layout) -> Result<Self, CurateError> {
        let file = File::open(path).map_err(CurateError::io(path))?;
        let len = file.metadata().map_err(CurateError::io(path))?.len();
        let torn = || CurateError::data(path, "no complete file of keys: remove it, and it is written anew");
        let Some(end) = len.checked_sub(TRAILER as u64) else { return Err(torn()) };
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, end).map_err(CurateError::io(path))?;
        let (format, numbers) = trailer.split_at(FORMAT.len());
        let [settings, rows, compared] = words::<3>(numbers);
        if format != FORMAT || rows.checked_mul(layout.row_bytes() as u64) != Some(end) || settings != layout.settings {
            return Err(torn());
        }
        let compared = if compared == Compared::Pair as u64 { Compared::Pair } else { Compared::Passage };
        Ok(Self { path: path.to_owned(), layout: layout.clone(), compared, rows })
    }

    /// How many chunks it has.
    pub fn chunks(&self) -> u64 {
        self.rows.div_ceil(CHUNK as u64)
    }

    /// A reader of its columns.
    ///
    /// # Errors
    /// The operating system's.
    pub fn columns(&self) -> Result<Columns<'_>, CurateError> {
        Ok(Columns { keys: self, file: File::open(&self.path).map_err(CurateError::io(&self.path))? })
    }
}

/// Reads columns, chunk by chunk.
#[derive(Debug)]
pub struct Columns<'a> {
    keys: &'a KeyFile,
    file: File,
}

impl Columns<'_> {
    /// The numbers of a chunk's rows.
    pub fn rows(&self, chunk: u64) -> Range<u64> {
        let from = chunk * CHUNK as u64;
        from..(from + CHUNK as u64).min(self.keys.rows)
    }

    /// Reads `column` of a chunk into `keys`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read<const N: usize>(&self, chunk: u64, column: usize, keys: &mut Vec<[u64; N]>) -> Result<(), CurateError> {
        let Layout { widths, .. } = &self.keys.layout;
        debug_assert_eq!(widths[column], N * 8);
        let Range { start, end } = self.rows(chunk);
        let rows = (end - start) as usize;
        let before = start * self.keys.layout.row_bytes() as u64;
        let at = before + (widths[..column].iter().sum::<usize>() * rows) as u64;
        let mut bytes = vec![0; rows * N * 8];
        self.file.read_exact_at(&mut bytes, at).map_err(CurateError::io(&self.keys.path))?;
        keys.clear();
        keys.extend(bytes.chunks_exact(N * 8).map(words::<N>));
        Ok(())
    }
}

/// Numbers from their bytes, of which there are enough.
pub fn words<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut eight = [0; 8];
        eight.copy_from_slice(bytes);
        *word = u64::from_le_bytes(eight);
    }
    words
}
