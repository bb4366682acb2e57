//! The list of a checkpoint's files with sizes and checksums.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The manifest's name.
pub(super) const NAME: &str = "manifest.json";

/// Every file below the checkpoint but the manifest itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Raised when a reader must know.
    pub format: u32,
    /// By path below the checkpoint.
    pub files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileEntry {
    pub bytes: u64,
    pub blake3: String,
}

impl Manifest {
    /// Reads, sums and syncs every file below `dir`.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        visit(dir, dir, &mut files)?;
        Ok(Self { format: 1, files })
    }

    /// What differs between the manifest in `dir` and the files beside it.
    pub fn check(dir: &Path) -> Result<(), String> {
        let text = fs::read_to_string(dir.join(NAME)).map_err(|e| format!("{NAME}: {e}"))?;
        if !text.ends_with("}\n") {
            return Err(format!("{NAME}: is cut off"));
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| format!("{NAME}: {e}"))?;
        if manifest.format != 1 {
            return Err(format!("is of format {}, which this version does not know", manifest.format));
        }
        for (name, expected) in &manifest.files {
            let found = FileEntry::of(&dir.join(name)).map_err(|e| format!("{name}: {e}"))?;
            if found.bytes != expected.bytes {
                return Err(format!("{name}: has {} bytes of {}: it is cut off", found.bytes, expected.bytes));
            }
            if found != *expected {
                return Err(format!("{name}: its checksum differs: it was altered"));
            }
        }
        Ok(())
    }
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
