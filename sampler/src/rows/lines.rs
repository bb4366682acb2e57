//! Lines of a plain, gzip or zstd file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::RowError;

/// Longest line that is read. Longer ones are reported and passed over without being held in memory.
const MAX_LINE_BYTES: usize = 64 << 20;

const READ_BUFFER_BYTES: usize = 256 << 10;

/// How a file is compressed: what its first bytes say, or else its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    Plain,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(path: &Path, first_bytes: &[u8]) -> Self {
        let extension = path.extension().and_then(|e| e.to_str());
        if first_bytes.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else if first_bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else {
            match extension {
                Some("gz") => Self::Gzip,
                Some("zst") => Self::Zstd,
                _ => Self::Plain,
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain text",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Reads non-blank lines and counts all of them.
pub(crate) struct LineReader {
    path: PathBuf,
    compression: Compression,
    input: Box<dyn BufRead + Send>,
    max_line_bytes: usize,
    line: u64,
    failed: bool,
}

impl LineReader {
    /// Opens `path`; adds what is read from the file, still compressed, to `bytes_read`.
    pub(crate) fn open_counting(path: &Path, bytes_read: Arc<AtomicU64>) -> Result<Self, RowError> {
        let file = File::open(path).map_err(|source| RowError::Open { path: path.to_owned(), source })?;
        let mut file = BufReader::with_capacity(READ_BUFFER_BYTES, CountingFile { file, bytes_read });
        // Here a folder is told from a file.
        let first_bytes = file.fill_buf().map_err(|source| RowError::Open { path: path.to_owned(), source })?;
        let compression = Compression::of(path, first_bytes);
        let input: Box<dyn BufRead + Send> = match compression {
            Compression::Plain => Box::new(file),
            Compression::Gzip => Box::new(buffered(flate2::bufread::MultiGzDecoder::new(file))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(file)
                    .map_err(|source| RowError::Open { path: path.to_owned(), source })?;
                // The largest window there is, so that files packed with `zstd --long` can be read.
                decoder.window_log_max(31).map_err(|source| RowError::Open { path: path.to_owned(), source })?;
                Box::new(buffered(decoder))
            }
        };
        Ok(Self { path: path.to_owned(), compression, input, max_line_bytes: MAX_LINE_BYTES, line: 0, failed: false })
    }

    /// Reads the next non-blank line into `buffer`, without its end, and returns its number from 1.
    pub(crate) fn read_line(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u64>, RowError> {
        while !self.failed {
            buffer.clear();
            // One byte more than allowed shows that a line is too long.
            let limit = self.max_line_bytes as u64 + 1;
            let read = self.input.by_ref().take(limit).read_until(b'\n', buffer);
            if self.checked(read)? == 0 {
                return Ok(None);
            }
            if !buffer.ends_with(b"\n") && buffer.len() > self.max_line_bytes {
                let skipped = self.input.skip_until(b'\n');
                self.checked(skipped)?;
                self.line += 1;
                let reason = format!("the line is longer than {} MiB", self.max_line_bytes >> 20);
                return Err(RowError::Line { path: self.path.clone(), line: self.line, reason });
            }
            self.line += 1;
            if self.line == 1 && buffer.starts_with(b"\xef\xbb\xbf") {
                buffer.drain(..3);
            }
            buffer.truncate(buffer.trim_ascii_end().len());
            if !buffer.is_empty() {
                return Ok(Some(self.line));
            }
        }
        Ok(None)
    }

    /// Passes over everything up to and including line `number`.
    pub(crate) fn skip_to(&mut self, number: u64) -> Result<(), RowError> {
        while !self.failed && self.line < number {
            let skipped = self.input.skip_until(b'\n');
            if self.checked(skipped)? == 0 {
                break;
            }
            self.line += 1;
        }
        Ok(())
    }

    fn checked(&mut self, read: io::Result<usize>) -> Result<usize, RowError> {
        read.map_err(|source| {
            self.failed = true;
            let reason = match (self.compression, source.kind()) {
                (Compression::Plain, _) => source.to_string(),
                (_, io::ErrorKind::UnexpectedEof) => {
                    format!("the {} data ends early: copy the file again", self.compression.name())
                }
                _ => format!("not valid {} data: {source}", self.compression.name()),
            };
            RowError::Read { path: self.path.clone(), line: self.line, reason, source }
        })
    }
}

impl fmt::Debug for LineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(READ_BUFFER_BYTES, reader)
}

/// A file that says how much of it was read.
pub(super) struct CountingFile {
    pub(super) file: File,
    pub(super) bytes_read: Arc<AtomicU64>,
}

impl Seek for CountingFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Read for CountingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_limit_is_reported_and_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long.jsonl");
        let limit = 1 << 20;
        std::fs::write(&path, ["a".repeat(limit), "b".repeat(limit + 1), "c".into()].join("\n")).unwrap();
        let mut reader = LineReader::open_counting(&path, Arc::default()).unwrap();
        reader.max_line_bytes = limit;
        let mut line = Vec::new();
        assert_eq!(reader.read_line(&mut line).unwrap(), Some(1));
        let message = reader.read_line(&mut line).unwrap_err().to_string();
        assert!(message.ends_with("long.jsonl:2: the line is longer than 1 MiB"), "{message}");
        assert_eq!(reader.read_line(&mut line).unwrap(), Some(3));
        assert_eq!(line, b"c");
        assert_eq!(reader.read_line(&mut line).unwrap(), None);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bom.jsonl");
        std::fs::write(&path, b"\xef\xbb\xbf{}\n").unwrap();
        let mut line = Vec::new();
        LineReader::open_counting(&path, Arc::default()).unwrap().read_line(&mut line).unwrap();
        assert_eq!(line, b"{}");
    }

    #[test]
    fn bytes_read_are_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.zst");
        let packed = zstd::encode_all(&[b'x'; 100_000][..], 3).unwrap();
        std::fs::write(&path, &packed).unwrap();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut reader = LineReader::open_counting(&path, bytes_read.clone()).unwrap();
        while reader.read_line(&mut Vec::new()).unwrap().is_some() {}
        assert_eq!(bytes_read.load(Ordering::Relaxed), packed.len() as u64);
    }
}
