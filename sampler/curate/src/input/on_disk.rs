//! Texts on disk until they are wanted: in memory are their places alone.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Texts by number, in a file without a name, of which nothing is left when the process ends, however it ends.
pub struct TextsOnDisk {
    file: BufWriter<File>,
    /// Where a text begins, and its bytes.
    places: Vec<Option<(u64, u32)>>,
    end: u64,
}

impl TextsOnDisk {
    /// Room for `count` texts, on the disk of `beside`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(count: usize, beside: &Path) -> io::Result<Self> {
        let dir = beside.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(dir)?);
        Ok(Self { file, places: vec![None; count], end: 0 })
    }

    /// Whether text `number` is there.
    pub fn has(&self, number: u32) -> bool {
        self.places[number as usize].is_some()
    }

    /// Keeps text `number`.
    ///
    /// # Errors
    /// The operating system's; a text of 4 GiB or more.
    pub fn put(&mut self, number: u32, text: &str) -> io::Result<()> {
        let len = u32::try_from(text.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.file.write_all(text.as_bytes())?;
        self.places[number as usize] = Some((self.end, len));
        self.end += u64::from(len);
        Ok(())
    }

    /// The texts from now on; nothing more is kept.
    ///
    /// # Errors
    /// The operating system's.
    pub fn complete(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Text `number`, if it is there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn get(&self, number: u32) -> io::Result<Option<String>> {
        let Some((at, len)) = self.places[number as usize] else { return Ok(None) };
        let mut bytes = vec![0; len as usize];
        self.file.get_ref().read_exact_at(&mut bytes, at)?;
        String::from_utf8(bytes).map(Some).map_err(io::Error::other)
    }
}
