//! Compressed files: gzip and zstd, read by content and written by name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) const READ_BUFFER_BYTES: usize = 256 << 10;

/// The largest window that zstd has, so that files packed with `zstd --long` can be read.
const MAX_WINDOW_LOG: u32 = 31;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// What the first bytes say.
    pub(super) fn of_bytes(first_bytes: &[u8]) -> Self {
        match first_bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // The second is a frame to skip, with which parallel and seekable writers begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// What the name says.
    pub(super) fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(ending) if ending.eq_ignore_ascii_case("gz") => Self::Gzip,
            Some(ending) if ending.eq_ignore_ascii_case("zst") => Self::Zstd,
            _ => Self::Plain,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain text",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What `packed` holds.
    pub(super) fn unpack(self, packed: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

pub(super) fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(READ_BUFFER_BYTES, reader)
}

/// A file that says how much of it was read.
pub(crate) struct CountingFile {
    pub(crate) file: File,
    pub(crate) bytes_read: Arc<AtomicU64>,
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

/// `path` without the ending that says how it is compressed: `a.jsonl` for `a.jsonl.gz`.
pub fn unpacked_name(path: &Path) -> PathBuf {
    match Packing::of_name(path) {
        Packing::Plain => path.to_owned(),
        Packing::Gzip | Packing::Zstd => path.with_extension(""),
    }
}

/// The file at `path`, or, where there is none, the one of this name with `.gz` or `.zst` behind it; else `path`.
pub fn plain_or_packed(path: &Path) -> PathBuf {
    let with_ending = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if path.exists() {
        return path.to_owned();
    }
    [".gz", ".zst"].map(with_ending).into_iter().find(|packed| packed.exists()).unwrap_or_else(|| path.to_owned())
}

/// Writes a file compressed as its name says: gzip for `.gz`, zstd for `.zst`, else plain.
pub struct PackedWriter<W: Write> {
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> PackedWriter<W> {
    /// Writes to `file` as the name `path` says.
    ///
    /// # Errors
    /// The compressor cannot be set up.
    pub fn new(path: &Path, file: W) -> io::Result<Self> {
        let inner = match Packing::of_name(path) {
            Packing::Plain => Inner::Plain(file),
            Packing::Gzip => Inner::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Packing::Zstd => Inner::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        };
        Ok(Self { inner })
    }

    /// Writes what is left and gives the file back. Without it a compressed file is not whole.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> io::Result<W> {
        match self.inner {
            Inner::Plain(file) => Ok(file),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for PackedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(file) => file.write(bytes),
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Plain(file) => file.flush(),
            Inner::Gzip(encoder) => encoder.flush(),
            Inner::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_packed_as_it_is_named_and_read_back() {
        for (name, packing) in [("a.jsonl", Packing::Plain), ("a.jsonl.gz", Packing::Gzip), ("A.ZST", Packing::Zstd)] {
            let mut writer = PackedWriter::new(Path::new(name), Vec::new()).unwrap();
            writer.write_all(b"some text\n").unwrap();
            let packed = writer.finish().unwrap();
            assert_eq!(Packing::of_bytes(&packed), packing, "{name}");
            let mut text = String::new();
            packing.unpack(io::Cursor::new(packed)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "some text\n", "{name}");
        }
    }

    #[test]
    fn a_packed_file_stands_in_for_a_plain_one_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("corpus.jsonl");
        assert_eq!(plain_or_packed(&plain), plain);
        let packed = dir.path().join("corpus.jsonl.gz");
        std::fs::write(&packed, "").unwrap();
        assert_eq!(plain_or_packed(&plain), packed);
        std::fs::write(&plain, "").unwrap();
        assert_eq!(plain_or_packed(&plain), plain);
        assert_eq!(unpacked_name(&packed), plain);
        assert_eq!(unpacked_name(&plain), plain);
    }
}
