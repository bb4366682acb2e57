//! Reads the lines of text files, whatever wrote them, for all commands.
//!
//! Files are plain, gzip, bzip2 or zstd, recognised by content. A line ends with LF or CR LF. A byte order mark before
//! a line, which concatenating files leaves, is not part of it. A file that evidently has no such lines (`evident`) is
//! refused as a whole.

mod evident;
mod json;
mod packed;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Cursor, Read};
use std::path::{Path, PathBuf};

pub use evident::LinesOf;
pub(crate) use evident::evident;
pub(crate) use json::shown;
pub use json::{json_fields, json_object};
pub(crate) use packed::CountingFile;
pub use packed::{PackedWriter, plain_or_packed, unpacked_name};

use crate::error::RowError;
use packed::{Packing, buffered};

/// The longest line that is read. Longer ones are reported and skipped without being held in memory.
const MAX_LINE_BYTES: usize = 64 << 20;

/// The number of unpacked bytes by which a file is judged.
const JUDGED_BYTES: u64 = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads the lines of one file and counts them.
pub struct LineReader {
    path: PathBuf,
    packing: Packing,
    input: Box<dyn BufRead + Send>,
    max_line_bytes: usize,
    line: u64,
    failed: bool,
}

impl LineReader {
    /// Opens `path`.
    ///
    /// # Errors
    /// The file cannot be read, or evidently has no such lines.
    pub fn open(path: &Path, lines_of: LinesOf) -> Result<Self, RowError> {
        let file = File::open(path).map_err(|source| RowError::Open { path: path.to_owned(), source })?;
        Self::over(path, file, lines_of)
    }

    /// Reads from `file`; `path` names it in errors.
    ///
    /// # Errors
    /// As [`LineReader::open`].
    pub fn over(path: &Path, file: impl Read + Send + 'static, lines_of: LinesOf) -> Result<Self, RowError> {
        let (packing, input) = unpack(path, file, |first_bytes| evident::of_lines(first_bytes, lines_of))?;
        Ok(Self { path: path.to_owned(), packing, input, max_line_bytes: MAX_LINE_BYTES, line: 0, failed: false })
    }

    /// The next bytes, as many as are held, without passing over them; none at the end of the file. Before the first
    /// line they are the file's first 64 KiB, or all of it.
    ///
    /// # Errors
    /// As [`read_line`](Self::read_line).
    pub fn peek(&mut self) -> Result<&[u8], RowError> {
        let held = self.input.fill_buf().map(<[u8]>::len);
        self.checked(held)?;
        // What is held is returned without reading.
        Ok(self.input.fill_buf().unwrap_or_default())
    }

    /// Reads the next line into `buffer`, without its end, and returns its number from 1; None at the end of the file.
    ///
    /// # Errors
    /// [`RowError::Line`] if a line is too long; the next line follows it. [`RowError::Read`] if reading fails, and
    /// [`RowError::Foreign`] if the file's lines end with CR alone; nothing follows either.
    pub fn read_line(&mut self, buffer: &mut Vec<u8>) -> Result<Option<u64>, RowError> {
        buffer.clear();
        if self.failed {
            return Ok(None);
        }
        // One byte more than the limit shows that a line is too long.
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
        // A file without any LF is one line, unless CR ends its lines; its first bytes show that only if it has many.
        let is_whole = self.line == 0 && !buffer.ends_with(b"\n");
        if is_whole && buffer.trim_ascii_end().contains(&b'\r') {
            self.failed = true;
            return Err(RowError::Foreign { path: self.path.clone(), reason: evident::CR_ALONE.into() });
        }
        self.line += 1;
        while buffer.starts_with(BYTE_ORDER_MARK) {
            buffer.drain(..BYTE_ORDER_MARK.len());
        }
        while let Some(b'\n' | b'\r') = buffer.last() {
            buffer.pop();
        }
        Ok(Some(self.line))
    }

    /// Skips everything up to and including line `number`.
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
            broken(&self.path, self.packing, self.line, source)
        })
    }
}

/// The error for reading that ended after `line` for `source`.
fn broken(path: &Path, packing: Packing, line: u64, source: io::Error) -> RowError {
    let reason = match (packing, source.kind()) {
        (Packing::Plain, _) => source.to_string(),
        (_, io::ErrorKind::UnexpectedEof) => format!("the {} data ends early: copy the file again", packing.name()),
        _ => format!("not valid {} data: {source}", packing.name()),
    };
    RowError::Read { path: path.to_owned(), line, reason, source }
}

/// The content of a file of any kind, whatever it is packed as, for a reader that recognises the kind itself.
pub struct Unpacked {
    path: PathBuf,
    packing: Packing,
    input: Box<dyn BufRead + Send>,
}

impl Unpacked {
    /// Opens `path`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path) -> Result<Self, RowError> {
        let file = File::open(path).map_err(|source| RowError::Open { path: path.to_owned(), source })?;
        let (packing, input) = unpack(path, file, |_| None)?;
        Ok(Self { path: path.to_owned(), packing, input })
    }

    /// A function that makes the error of reading that ended after `line` for the reason that it is given.
    pub fn broken(&self, line: u64) -> impl Fn(io::Error) -> RowError + 'static {
        let (path, packing) = (self.path.clone(), self.packing);
        move |source| broken(&path, packing, line, source)
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl BufRead for Unpacked {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.input.consume(len);
    }
}

impl fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unpacked").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The content of the file at `path`, whatever it is packed as, without a byte order mark before it.
///
/// # Errors
/// The file cannot be read, or is evidently no text.
pub fn unpacked(path: &Path) -> Result<Box<dyn BufRead + Send>, RowError> {
    let opening = |source| RowError::Open { path: path.to_owned(), source };
    let (_, mut content) = unpack(path, File::open(path).map_err(opening)?, evident)?;
    while content.fill_buf().map_err(opening)?.starts_with(BYTE_ORDER_MARK) {
        content.consume(BYTE_ORDER_MARK.len());
    }
    Ok(content)
}

/// How `file` is packed, and its content; `path` names it in errors. `judge` says of the content's first bytes what is
/// wrong.
fn unpack(
    path: &Path,
    file: impl Read + Send + 'static,
    judge: impl Fn(&[u8]) -> Option<String>,
) -> Result<(Packing, Box<dyn BufRead + Send>), RowError> {
    let opening = |source| RowError::Open { path: path.to_owned(), source };
    let foreign = |reason| RowError::Foreign { path: path.to_owned(), reason };
    let mut packed = Judged::of(Box::new(file));
    // Reading, not opening, fails for a folder.
    if let Some(e) = packed.failed.take_if(|_| packed.first_bytes.is_empty()) {
        return Err(opening(e));
    }
    let (packing, named) = (Packing::of_bytes(&packed.first_bytes), Packing::of_name(path));
    if packing == Packing::Plain && named != Packing::Plain && !packed.first_bytes.is_empty() {
        let reason = evident(&packed.first_bytes).unwrap_or_else(|| {
            let name = named.name();
            format!("named as {name}, but it is not valid {name} data: unpacked already? Then give it its name")
        });
        return Err(foreign(reason));
    }
    let content = match packing {
        Packing::Plain => packed,
        _ => Judged::of(packing.unpack(packed.into_whole()).map_err(opening)?),
    };
    if let Some(reason) = judge(&content.first_bytes) {
        return Err(foreign(reason));
    }
    Ok((packing, content.into_whole()))
}

/// The line as text. The error is the reason alone.
///
/// # Errors
/// It is not UTF-8.
pub fn utf8(line: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(line).map_err(|e| {
        let at = e.valid_up_to();
        format!(
            "not UTF-8 from byte {} (0x{:02x}): convert the file, as with `iconv -f WINDOWS-1252 -t UTF-8` if that is \
             its encoding",
            at + 1,
            line[at]
        )
    })
}

impl fmt::Debug for LineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

/// A file whose first bytes were read.
struct Judged {
    first_bytes: Vec<u8>,
    /// The error that ended reading them, if any.
    failed: Option<io::Error>,
    rest: Box<dyn Read + Send>,
}

impl Judged {
    fn of(mut file: Box<dyn Read + Send>) -> Self {
        let mut first_bytes = Vec::new();
        let failed = file.by_ref().take(JUDGED_BYTES).read_to_end(&mut first_bytes).err();
        Self { first_bytes, failed, rest: file }
    }

    /// The whole file, from its first byte.
    fn into_whole(self) -> Box<dyn BufRead + Send> {
        let first_bytes = Cursor::new(self.first_bytes);
        match self.failed {
            None => Box::new(first_bytes.chain(buffered(self.rest))),
            Some(e) => Box::new(first_bytes.chain(buffered(Failing(Some(e))))),
        }
    }
}

/// Returns an error once, and then the end of the file.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn reader(bytes: &[u8], lines_of: LinesOf) -> Result<LineReader, RowError> {
        LineReader::over(Path::new("a.jsonl"), Cursor::new(bytes.to_vec()), lines_of)
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut reader = reader(bytes, LinesOf::Text).unwrap();
        let mut line = Vec::new();
        std::iter::from_fn(|| reader.read_line(&mut line).unwrap().map(|_| String::from_utf8(line.clone()).unwrap()))
            .collect()
    }

    #[test]
    fn a_line_over_the_limit_is_reported_and_passed_over() {
        let limit = 1 << 20;
        let text = ["a".repeat(limit), "b".repeat(limit + 1), "c".into()].join("\n");
        let mut reader = reader(text.as_bytes(), LinesOf::Text).unwrap();
        reader.max_line_bytes = limit;
        let mut line = Vec::new();
        assert_eq!(reader.read_line(&mut line).unwrap(), Some(1));
        let message = reader.read_line(&mut line).unwrap_err().to_string();
        assert_eq!(message, "a.jsonl:2: the line is longer than 1 MiB");
        assert_eq!(reader.read_line(&mut line).unwrap(), Some(3));
        assert_eq!(line, b"c");
        assert_eq!(reader.read_line(&mut line).unwrap(), None);
    }

    #[test]
    fn marks_and_line_ends_are_no_part_of_a_line_and_blanks_are() {
        assert_eq!(lines("\u{feff}{}\n\u{feff}\u{feff}{} \r\n\n \r\nlast".as_bytes()), ["{}", "{} ", "", " ", "last"]);
        assert_eq!(lines("a\u{2028}b\u{85}c\rd\n".as_bytes()), ["a\u{2028}b\u{85}c\rd"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn lines_that_end_with_cr_alone_are_refused_however_many_or_long_they_are() {
        let long = format!("{0}\r{0}\r", "w4 ".repeat(40_000));
        for text in ["w4\rw5\r", "w4\rw5", "w4\rw5\rw6\r", "\rw4", long.as_str()] {
            for lines_of in [LinesOf::Text, LinesOf::Objects] {
                let read = reader(text.as_bytes(), lines_of).and_then(|mut reader| {
                    let read = reader.read_line(&mut Vec::new());
                    assert_eq!(reader.read_line(&mut Vec::new()).unwrap(), None, "nothing follows");
                    read
                });
                let message = read.unwrap_err().to_string();
                assert!(message.starts_with("a.jsonl:1: its lines end with CR alone: `tr"), "{message}");
            }
        }
        assert_eq!(lines(b"w4\r"), ["w4"]);
        assert_eq!(lines(b"w4\r\nw5\rw6"), ["w4", "w5\rw6"]);
    }

    #[test]
    fn bytes_read_are_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl.zst");
        let packed = zstd::encode_all(&[b'x'; 100_000][..], 3).unwrap();
        std::fs::write(&path, &packed).unwrap();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let file = CountingFile { file: File::open(&path).unwrap(), bytes_read: bytes_read.clone() };
        let mut reader = LineReader::over(&path, file, LinesOf::Text).unwrap();
        while reader.read_line(&mut Vec::new()).unwrap().is_some() {}
        assert_eq!(bytes_read.load(Ordering::Relaxed), packed.len() as u64);
    }

    #[test]
    fn zstd_that_begins_with_a_frame_to_skip_is_read() {
        let mut packed = vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
        packed.extend(zstd::encode_all(&b"text\n"[..], 3).unwrap());
        assert_eq!(lines(&packed), ["text"]);
    }

    #[test]
    fn what_no_text_is_is_refused_whatever_the_lines_are() {
        let packed = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        for lines_of in [LinesOf::Objects, LinesOf::Text] {
            let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
            for (bytes, expected) in [(pointer.to_vec(), "git lfs pull"), (packed(&packed(b"x")), "zstd")] {
                let error = reader(&bytes, lines_of).unwrap_err();
                assert!(
                    error.to_string().starts_with("a.jsonl:1: ") && error.to_string().contains(expected),
                    "{error}"
                );
            }
        }
        let message = utf8(b"caf\xe9").unwrap_err();
        assert!(message.starts_with("not UTF-8 from byte 4 (0xe9): convert"), "{message}");
    }
}
