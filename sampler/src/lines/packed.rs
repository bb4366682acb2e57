//! Files compressed with gzip, bzip2 or zstd. The content decides how one is read, and the name how it is written.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;

pub(super) const READ_BUFFER_BYTES: usize = 256 << 10;

/// zstd's largest window, so that files packed with `zstd --long` can be read.
const MAX_WINDOW_LOG: u32 = 31;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Bzip2,
    Zstd,
}

impl Packing {
    /// The packing that the first bytes show.
    pub(super) fn of_bytes(first_bytes: &[u8]) -> Self {
        match first_bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A block's magic number follows, or the end's in what packs nothing. Text may begin with the first four.
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Self::Bzip2,
            // The second pattern is a skippable frame, with which parallel and seekable writers begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// The packing that the name shows.
    pub(super) fn of_name(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(ending) if ending.eq_ignore_ascii_case("gz") => Self::Gzip,
            Some(ending) if ending.eq_ignore_ascii_case("bz2") => Self::Bzip2,
            Some(ending) if ending.eq_ignore_ascii_case("zst") => Self::Zstd,
            _ => Self::Plain,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain text",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
        }
    }

    /// The unpacked content of `packed`.
    pub(super) fn unpack(self, packed: impl BufRead + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Plain => Box::new(packed),
            Self::Gzip => Box::new(GzipReader { member: Some(GzDecoder::new(packed)) }),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(MAX_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Reads all members of a gzip file. Zeros after one, with which tapes and block devices pad, are skipped.
struct GzipReader<R> {
    /// None after the last.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let has_more = skip_zeros(member.get_mut())?;
            self.member = self.member.take().filter(|_| has_more).map(|member| GzDecoder::new(member.into_inner()));
        }
        Ok(0)
    }
}

/// Skips zeros, and returns whether something follows them.
fn skip_zeros(packed: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let held = match packed.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            held => held?,
        };
        let (zeros, len) = (held.iter().take_while(|&&byte| byte == 0).count(), held.len());
        packed.consume(zeros);
        if len == 0 || zeros < len {
            return Ok(len > 0);
        }
    }
}

pub(super) fn buffered<R: Read>(reader: R) -> BufReader<R> {
    BufReader::with_capacity(READ_BUFFER_BYTES, reader)
}

/// A file that counts the bytes read from it.
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

/// `path` without the ending of its compression: `a.jsonl` for `a.jsonl.gz`.
pub fn unpacked_name(path: &Path) -> PathBuf {
    match Packing::of_name(path) {
        Packing::Plain => path.to_owned(),
        Packing::Gzip | Packing::Bzip2 | Packing::Zstd => path.with_extension(""),
    }
}

/// `path` if it exists, else the same name with `.gz`, `.zst` or `.bz2` appended if that exists, else `path`.
pub fn plain_or_packed(path: &Path) -> PathBuf {
    let with_ending = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if path.exists() {
        return path.to_owned();
    }
    [".gz", ".zst", ".bz2"]
        .map(with_ending)
        .into_iter()
        .find(|packed| packed.exists())
        .unwrap_or_else(|| path.to_owned())
}

/// Writes a file in the compression of its name: gzip for `.gz`, bzip2 for `.bz2`, zstd for `.zst`, else plain.
pub struct PackedWriter<W: Write> {
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Bzip2(bzip2::write::BzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> PackedWriter<W> {
    /// Writes to `file`, compressed as the name `path` says.
    ///
    /// # Errors
    /// The compressor cannot be set up.
    pub fn new(path: &Path, file: W) -> io::Result<Self> {
        let inner = match Packing::of_name(path) {
            Packing::Plain => Inner::Plain(file),
            Packing::Gzip => Inner::Gzip(flate2::write::GzEncoder::new(file, flate2::Compression::default())),
            Packing::Bzip2 => Inner::Bzip2(bzip2::write::BzEncoder::new(file, bzip2::Compression::default())),
            Packing::Zstd => Inner::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        };
        Ok(Self { inner })
    }

    /// Writes what is left and returns the file. A compressed file is incomplete without this call.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self) -> io::Result<W> {
        match self.inner {
            Inner::Plain(file) => Ok(file),
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Bzip2(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for PackedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(file) => file.write(bytes),
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Bzip2(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.inner {
            Inner::Plain(file) => file.flush(),
            Inner::Gzip(encoder) => encoder.flush(),
            Inner::Bzip2(encoder) => encoder.flush(),
            Inner::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_packed_as_it_is_named_and_read_back() {
        for (name, packing) in [
            ("a.jsonl", Packing::Plain),
            ("a.jsonl.gz", Packing::Gzip),
            ("a.jsonl.bz2", Packing::Bzip2),
            ("A.ZST", Packing::Zstd),
        ] {
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
    fn zeros_after_a_gzip_member_are_passed_over_and_nothing_else_is() {
        let member = |text: &[u8]| {
            let mut writer = PackedWriter::new(Path::new("a.gz"), Vec::new()).unwrap();
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        };
        let read = |packed: Vec<u8>| {
            let mut text = String::new();
            let mut packed = Packing::Gzip.unpack(buffered(io::Cursor::new(packed))).unwrap();
            packed.read_to_string(&mut text).map(|_| text)
        };
        let (one, two, zeros) = (member(b"one\n"), member(b"two\n"), vec![0; READ_BUFFER_BYTES + 7]);
        assert_eq!(read([one.clone(), two.clone()].concat()).unwrap(), "one\ntwo\n");
        assert_eq!(read([one.clone(), zeros.clone()].concat()).unwrap(), "one\n");
        assert_eq!(read([one.clone(), zeros.clone(), member(b""), two, vec![0]].concat()).unwrap(), "one\ntwo\n");
        assert!(read([one.clone(), zeros, b"x".to_vec()].concat()).is_err());
        assert!(read(one[..one.len() - 1].to_vec()).is_err());
    }

    #[test]
    fn all_streams_of_bzip2_are_read_and_a_cut_one_is_not() {
        let stream = |text: &[u8]| {
            let mut writer = PackedWriter::new(Path::new("a.bz2"), Vec::new()).unwrap();
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        };
        let read = |packed: Vec<u8>| {
            let mut text = String::new();
            let mut packed = Packing::Bzip2.unpack(buffered(io::Cursor::new(packed))).unwrap();
            packed.read_to_string(&mut text).map(|_| text)
        };
        let (one, two, none) = (stream(b"one\n"), stream(b"two\n"), stream(b""));
        assert_eq!(read([one.clone(), none.clone(), two.clone()].concat()).unwrap(), "one\ntwo\n");
        assert_eq!(Packing::of_bytes(&none), Packing::Bzip2);
        assert_eq!(Packing::of_bytes(b"BZh9 is no archive"), Packing::Plain);
        for cut in [one[..one.len() - 1].to_vec(), [&one[..], &two[..5]].concat()] {
            assert_eq!(read(cut).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
        assert!(read([&one[..], b"x"].concat()).is_err());
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
