//! The list of a checkpoint's files with sizes and checksums, and the checks against it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::directory;

/// The manifest's name.
pub(super) const NAME: &str = "manifest.json";

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// The state of the run, which has the number of its step.
const STATE: &str = "train/state.json";

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize)]
struct Step {
    step: u64,
}

/// Every file below the checkpoint except the manifest itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Raised when readers must know of a change.
    pub format: u32,
    /// The files by their paths below the checkpoint.
    pub files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub bytes: u64,
    pub blake3: String,
}

/// Why a folder is not a good checkpoint.
#[derive(Debug)]
pub(super) struct Flaw {
    /// The reason in words.
    pub reason: String,
    /// Whether it is one of our checkpoints whose content is not what was written. Otherwise this cannot be determined:
    /// there is no manifest, it is another version's, or the disk does not answer.
    pub is_damage: bool,
}

impl Flaw {
    fn damage(reason: String) -> Self {
        Self { reason, is_damage: true }
    }

    fn unknown(reason: String) -> Self {
        Self { reason, is_damage: false }
    }

    /// A file in the manifest cannot be read.
    fn of_file(name: &str, error: &io::Error) -> Self {
        let is_damage = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        Self { reason: format!("{name}: {error}"), is_damage }
    }

    fn of_size(name: &str, found: u64, expected: u64) -> Self {
        let what = if found < expected { "it is cut off" } else { "something was added to it" };
        Self::damage(format!("{name}: has {found} bytes of {expected}: {what}"))
    }
}

impl Manifest {
    /// Reads, hashes and syncs every file below `dir`.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        visit(dir, dir, &mut files)?;
        Ok(Self { format: FORMAT, files })
    }

    /// Checks the files in `dir` against its manifest, and its name against the step that it is of. Reads all of them.
    pub fn check(dir: &Path) -> Result<(), Flaw> {
        for (name, expected) in &Self::read(dir)?.files {
            let found = FileEntry::of(&dir.join(name)).map_err(|e| Flaw::of_file(name, &e))?;
            if found.bytes != expected.bytes {
                return Err(Flaw::of_size(name, found.bytes, expected.bytes));
            }
            if found != *expected {
                return Err(Flaw::damage(format!("{name}: its checksum differs: it was altered")));
            }
        }
        check_name(dir)
    }

    /// As [`Manifest::check`], but compares only sizes. If a complete check has passed before, only a disk that alters
    /// its content can do damage that this misses.
    pub fn check_sizes(dir: &Path) -> Result<(), Flaw> {
        for (name, expected) in &Self::read(dir)?.files {
            let found = fs::metadata(dir.join(name)).map_err(|e| Flaw::of_file(name, &e))?.len();
            if found != expected.bytes {
                return Err(Flaw::of_size(name, found, expected.bytes));
            }
        }
        Ok(())
    }

    fn read(dir: &Path) -> Result<Self, Flaw> {
        let text = fs::read(dir.join(NAME)).map_err(|e| Flaw::unknown(format!("{NAME}: {e}")))?;
        if !text.ends_with(b"}\n") {
            return Err(Flaw::damage(format!("{NAME}: is cut off")));
        }
        let damaged = |e: serde_json::Error| Flaw::damage(format!("{NAME}: {e}"));
        // The manifest of a later version may have other fields.
        let Format { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format != FORMAT {
            let reason = format!("is of format {format}, which this version does not know");
            return Err(Flaw::unknown(reason));
        }
        serde_json::from_slice(&text).map_err(damaged)
    }
}

/// A copy under a later step's name would be taken for the newest, and every checkpoint after it for an older one.
fn check_name(dir: &Path) -> Result<(), Flaw> {
    let state = fs::read(dir.join(STATE)).map_err(|e| Flaw::of_file(STATE, &e))?;
    let Step { step } = serde_json::from_slice(&state).map_err(|e| Flaw::damage(format!("{STATE}: {e}")))?;
    let name = directory(Path::new(""), step);
    if dir.file_name() == Some(name.as_os_str()) {
        return Ok(());
    }
    Err(Flaw::unknown(format!("it is the checkpoint of step {step}: name it {}, or remove it", name.display())))
}

impl FileEntry {
    fn of(path: &Path) -> io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut File::open(path)?, &mut hasher)?;
        Ok(Self { bytes, blake3: hasher.finalize().to_hex().to_string() })
    }
}

fn visit(root: &Path, dir: &Path, files: &mut BTreeMap<String, FileEntry>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            visit(root, &path, files)?;
        } else {
            File::open(&path)?.sync_all()?;
            // Every visited path begins with `root`.
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.insert(name, FileEntry::of(&path)?);
        }
    }
    File::open(dir)?.sync_all()
}
