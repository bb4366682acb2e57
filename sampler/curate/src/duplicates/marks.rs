//! A bit a row, which threads set; and what is written of a unit in the end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::CurateError;

/// A bit for each row of all units: an eighth of a byte a row.
#[derive(Debug)]
pub struct Marks(Vec<AtomicU64>);

impl Marks {
    /// For as many rows, none of which is marked.
    pub fn new(rows: u64) -> Self {
        Self((0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Marks a row. Whether it was marked before.
    pub fn set(&self, row: u64) -> bool {
        let bit = 1 << (row % 64);
        self.0[(row / 64) as usize].fetch_or(bit, Ordering::Relaxed) & bit != 0
    }

    /// Whether a row is marked.
    pub fn has(&self, row: u64) -> bool {
        self.0[(row / 64) as usize].load(Ordering::Relaxed) >> (row % 64) & 1 != 0
    }
}

/// A row's number within its unit, and a small number.
pub type Marked = (u32, u16);

/// Six bytes of it.
pub fn marked_bytes((row, number): Marked) -> [u8; 6] {
    let ([a, b, c, d], [e, f]) = (row.to_le_bytes(), number.to_le_bytes());
    [a, b, c, d, e, f]
}

/// Reads what was written so, in order.
#[derive(Debug)]
pub struct MarkedRows {
    path: PathBuf,
    file: BufReader<File>,
}

impl MarkedRows {
    /// The marks of the file `path`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> Result<Self, CurateError> {
        let file = File::open(path).map_err(CurateError::io(path))?;
        let bytes = file.metadata().map_err(CurateError::io(path))?.len();
        if bytes % 6 != 0 {
            return Err(CurateError::data(path, "is cut off: remove the folder \"work\" that it is in"));
        }
        Ok(Self { path: path.to_owned(), file: BufReader::with_capacity(1 << 16, file) })
    }
}

impl Iterator for MarkedRows {
    type Item = Result<Marked, CurateError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = [0; 6];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {
                let [a, b, c, d, e, f] = bytes;
                Some(Ok((u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]))))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => Some(Err(CurateError::io(&self.path)(error))),
        }
    }
}
