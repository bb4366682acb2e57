//! A folder of files that is there whole or not at all.
//!
//! It is written beside its place, under a name that is always the same, and renamed. A lock on it (`flock`, where the
//! file system supports it) keeps a second process away; what a killed one has left is written over.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tercet_configs::ExitCode;
use tercet_sampler::partial_of;

use super::tensors::Tensors;
use crate::exit::Fail;

/// A folder that is to be written.
pub struct Export {
    /// What it is, in a few words.
    pub what: String,
    /// Its files.
    pub files: Vec<(&'static str, Content)>,
}

/// What a file of it holds.
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Tensors, as safetensors.
    Tensors(Tensors),
}

/// What was done.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The folder was written.
    Written,
    /// It was there, with the very same files.
    WasThere,
}

impl Export {
    /// Writes the folder to `out`, which is not there, empty, or what would be written.
    ///
    /// # Errors
    /// Something else is there, or another process is writing it; a file cannot be read or written. Nothing is then
    /// left behind.
    pub fn write(&self, out: &Path) -> anyhow::Result<Outcome> {
        let about = |path: &Path| format!("writing {}", path.display());
        // A link stays, and so do `.` and the like: what they lead to is the folder.
        let out = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
        if out.symlink_metadata().is_ok() && !is_empty(&out).with_context(|| about(&out))? {
            return self.compare(&out);
        }
        if out.file_name().is_none() {
            return Err(Fail::new(ExitCode::Usage, format!("{} is no name of a new folder", out.display())).into());
        }
        let beside = partial_of(&out);
        if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| about(parent))?;
        }
        let held = lock(&beside).with_context(|| about(&beside))?;
        let Some(held) = held else {
            let message =
                format!("{} is being written by another process: wait for it, or choose another name", out.display());
            return Err(Fail::new(ExitCode::Usage, message).into());
        };
        let written = self.fill(&beside).and_then(|()| {
            held.sync_all().and_then(|()| fs::rename(&beside, &out)).with_context(|| about(&out))?;
            // The folder is there; not every file system can sync the one above it.
            let _ = File::open(out.parent().unwrap_or(Path::new("/"))).and_then(|above| above.sync_all());
            Ok(Outcome::Written)
        });
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_dir_all(&beside);
        }
        written
    }

    /// Writes the files into `dir`, and nothing of what is there stays.
    fn fill(&self, dir: &Path) -> anyhow::Result<()> {
        let failed = |path: &Path| {
            let about = format!("writing {}", path.display());
            move |error: io::Error| anyhow::Error::new(error).context(about.clone())
        };
        for entry in
            fs::read_dir(dir).and_then(|entries| entries.collect::<io::Result<Vec<_>>>()).map_err(failed(dir))?
        {
            fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
        }
        for (name, content) in &self.files {
            let path = dir.join(name);
            let mut file = File::create_new(&path).map_err(failed(&path))?;
            content.write(&mut file, &failed(&path))?;
            file.sync_all().map_err(failed(&path))?;
        }
        Ok(())
    }

    /// Whether `out` holds these files and no others.
    fn compare(&self, out: &Path) -> anyhow::Result<Outcome> {
        let differs = |what: String| {
            let message = format!("{} is there already, {what}: choose another name, or move it away", out.display());
            anyhow::Error::new(Fail::new(ExitCode::Usage, message))
        };
        if !out.is_dir() {
            return Err(differs("and is no folder".into()));
        }
        let names = fs::read_dir(out).with_context(|| format!("reading {}", out.display()))?;
        let names = names.map(|entry| Ok(entry?.file_name())).collect::<io::Result<BTreeSet<_>>>()?;
        if let Some(other) = names.iter().find(|name| !self.files.iter().any(|(own, _)| name == own)) {
            return Err(differs(format!("with a file {} that this export has not", other.display())));
        }
        for (name, content) in &self.files {
            let other = |_: io::Error| differs(format!("with another {name}"));
            let file = File::open(out.join(name)).map_err(other)?;
            let mut same = Same { there: BufReader::new(file), piece: Vec::new() };
            content.write(&mut same, &other)?;
            if same.there.read(&mut [0]).map_err(other)? > 0 {
                return Err(differs(format!("with another {name}")));
            }
        }
        Ok(Outcome::WasThere)
    }
}

impl Content {
    /// Writes it; `failed` makes an error of one of `to`.
    fn write(&self, to: &mut dyn Write, failed: &dyn Fn(io::Error) -> anyhow::Error) -> anyhow::Result<()> {
        match self {
            Self::Bytes(bytes) => to.write_all(bytes).map_err(failed),
            Self::Tensors(tensors) => tensors.write(to, failed),
        }
    }
}

/// Takes the bytes that a file has already, and no others.
struct Same {
    there: BufReader<File>,
    piece: Vec<u8>,
}

impl Write for Same {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.resize(bytes.len(), 0);
        self.there.read_exact(&mut self.piece)?;
        if self.piece == bytes { Ok(bytes.len()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(path.is_dir() && fs::read_dir(path)?.next().is_none())
}

/// The folder at `path`, which may be there, for this process alone; none while another one has it.
fn lock(path: &PathBuf) -> io::Result<Option<File>> {
    loop {
        match fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let folder = match File::open(path) {
            // It has just been put in its place.
            Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => continue,
            opened => opened?,
        };
        match folder.try_lock() {
            // A file system that knows no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
        }
        let own = folder.metadata()?;
        if path.metadata().is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            return Ok(Some(folder));
        }
    }
}
