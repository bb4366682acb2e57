//! The folder of a curation: what is asked for there, what is finished, and who is at work.
//!
//! A unit's folder is named after what it is read from. Where files were changed, added or removed since the folder was
//! begun, the folders of all other units are the same, and stay.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_sampler::write_durably;

use super::asked::{Asked, Other};
use super::units::Unit;
use crate::args::UnitsShare;
use crate::error::CurateError;

/// The report is written last: where it is, all is done.
pub const REPORT: &str = "report.json";
/// The same to read.
pub const TABLE: &str = "report.txt";

/// The folder of rows, with a file for each source.
pub const ROWS: &str = "rows";
/// The folder of what was dropped, with a file for each reason.
pub const DROPPED: &str = "dropped";
/// The keys of a unit, by which duplicates are found.
pub const KEYS: &str = "keys";

const ASKED: &str = "curation.json";
const WORK: &str = "work";

/// The folder, locked as long as this lives.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    /// Shares hold it together, one that does the whole has it alone.
    _whole: File,
    /// One that a share has alone.
    _share: Option<File>,
}

impl Place {
    /// Opens the folder `dir` for what is asked of `units`, or begins it. If it was begun with other files, what was
    /// read of the same ones stays.
    ///
    /// # Errors
    /// Something else was begun there, or somebody is at work there. The operating system's.
    pub fn open(dir: &Path, asked: &Asked, units: &[Unit], share: Option<UnitsShare>) -> Result<Self, CurateError> {
        let work = dir.join(WORK);
        if !dir.join(ASKED).exists() && !is_begun(dir)? {
            let reason = "is there, and is not a curation's: nothing is overwritten, choose another";
            return Err(CurateError::Usage(format!("{}: {reason}", dir.display())));
        }
        if dir.join(REPORT).exists() && !work.exists() {
            // Done: nothing but what was asked is read any more, and nothing is locked for long.
            let whole = File::open(dir.join(ASKED)).map_err(CurateError::io(dir))?;
            let place = Self { dir: dir.to_owned(), _whole: whole, _share: None };
            return place.compare(asked)?.map_or(Ok(place), |other| Err(other.refused(dir)));
        }
        fs::create_dir_all(&work).map_err(CurateError::io(&work))?;
        // Shares may begin together. Who has this lock waits for no other.
        let beginning = lock(&work.join("lock-asked"), Lock::Waiting)?;
        let was_begun = dir.join(ASKED).exists();
        let whole = lock(&work.join("lock"), Lock::of(share.is_none()))?;
        let own = share.map(|share| format!("lock-{}-{}", share.index, share.of));
        let own = own.map(|name| lock(&work.join(name), Lock::Alone)).transpose()?;
        let mut place = Self { dir: dir.to_owned(), _whole: whole, _share: own };
        let other = if was_begun { place.compare(asked)? } else { None };
        match other {
            Some(Other::Files) if !place.is_done() => {
                if share.is_some() {
                    // Nobody else may be reading what was asked for before. A lock that is held is given back first;
                    // a file system without locks has none to give back.
                    _ = place._whole.unlock();
                    place._whole = lock(&work.join("lock"), Lock::Alone)?;
                }
                place.keep_units(units)?;
                place.write(ASKED, &to_json(asked))?;
                if share.is_some() {
                    _ = place._whole.unlock();
                    place._whole = lock(&work.join("lock"), Lock::Together)?;
                }
            }
            Some(other) => return Err(other.refused(dir)),
            None if was_begun => {}
            None => place.write(ASKED, &to_json(asked))?,
        }
        drop(beginning);
        Ok(place)
    }

    /// In what the folder was begun with something else than `asked`.
    fn compare(&self, asked: &Asked) -> Result<Option<Other>, CurateError> {
        let path = self.dir.join(ASKED);
        let there = fs::read(&path).map_err(CurateError::io(&path))?;
        let there: Asked =
            serde_json::from_slice(&there).map_err(|error| CurateError::data(&path, error.to_string()))?;
        Ok(there.other(asked))
    }

    /// Removes what was made of other files than those of `units`, and what was made of all files together.
    fn keep_units(&self, units: &[Unit]) -> Result<(), CurateError> {
        let read = self.work("units")?;
        // Where duplicates were found already, the keys by which they are found are gone.
        let is_read = |unit: &&Unit| self.of_unit(unit).join(KEYS).exists();
        let kept: Vec<&Unit> = units.iter().filter(is_read).collect();
        let names: HashSet<OsString> = kept.iter().map(|unit| OsString::from(&unit.name)).collect();
        for entry in fs::read_dir(&read).map_err(CurateError::io(&read))? {
            let entry = entry.map_err(CurateError::io(&read))?;
            if !names.contains(&entry.file_name()) {
                remove(&entry.path())?;
            }
        }
        for name in ["duplicates.json", "duplicates", "relevance", "rows"] {
            remove(&self.dir.join(WORK).join(name))?;
        }
        for name in [ROWS, DROPPED] {
            remove(&self.dir.join(name))?;
        }
        let all: usize = units.iter().map(|unit| unit.files.len()).sum();
        let kept: usize = kept.iter().map(|unit| unit.files.len()).sum();
        // Nobody is left to be told that standard error is closed.
        _ = writeln!(
            io::stderr(),
            "tercet: {}: begun with other files, or files of other sizes: what was read of {kept} of {all} files \
             stays, {} are to be read",
            self.dir.display(),
            all - kept,
        );
        Ok(())
    }

    /// Whether the report is written, which is last.
    pub fn is_done(&self) -> bool {
        self.dir.join(REPORT).exists()
    }

    /// Whether what was written is there as the report counts it.
    ///
    /// # Errors
    /// A file is gone, or has another size. The operating system's.
    pub fn check_written(&self) -> Result<(), CurateError> {
        /// What is read of the report.
        #[derive(Deserialize)]
        struct Written {
            #[serde(default)]
            files: BTreeMap<String, u64>,
        }
        let report = self.dir.join(REPORT);
        let json = fs::read(&report).map_err(CurateError::io(&report))?;
        let Written { files } =
            serde_json::from_slice(&json).map_err(|error| CurateError::data(&report, error.to_string()))?;
        for (name, bytes) in files {
            let path = self.dir.join(name);
            let what = match fs::metadata(&path) {
                Ok(there) if there.len() == bytes => continue,
                Ok(there) => format!("has {} bytes, and had {bytes} when it was written", there.len()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "is gone".to_owned(),
                Err(error) => return Err(CurateError::io(&path)(error)),
            };
            let (path, report) = (path.display(), report.display());
            let mends = format!("put it back, or remove {report} and type the command again, which writes all anew");
            return Err(CurateError::Usage(format!("{path}: {what}: {mends}")));
        }
        Ok(())
    }

    /// The report's table.
    ///
    /// # Errors
    /// The operating system's.
    pub fn told(&self) -> Result<String, CurateError> {
        let path = self.dir.join(TABLE);
        let told = fs::read_to_string(&path).map_err(CurateError::io(&path))?;
        Ok(told.trim_end().to_owned())
    }

    /// The folder `name` for what is wanted, made if it is not there.
    ///
    /// # Errors
    /// The operating system's.
    pub fn folder(&self, name: &str) -> Result<PathBuf, CurateError> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).map_err(CurateError::io(&path))?;
        Ok(path)
    }

    /// The folder `name` for what is removed in the end.
    ///
    /// # Errors
    /// The operating system's.
    pub fn work(&self, name: &str) -> Result<PathBuf, CurateError> {
        self.folder(&format!("{WORK}/{name}"))
    }

    /// A lock on a unit, which nobody else then reads.
    ///
    /// # Errors
    /// Somebody reads it. The operating system's.
    pub fn lock_unit(&self, unit: &Unit) -> Result<File, CurateError> {
        lock(&self.of_unit(unit).with_extension("lock"), Lock::Alone)
    }

    /// The folder of a unit, which is there when the unit is read.
    pub fn of_unit(&self, unit: &Unit) -> PathBuf {
        self.dir.join(WORK).join("units").join(&unit.name)
    }

    /// Writes the file `name`, whole or not at all.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), CurateError> {
        let path = self.dir.join(name);
        write_durably(&path, bytes).map_err(CurateError::io(&path))
    }

    /// Removes what was needed on the way, or what a killed process left of it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(&self) -> Result<(), CurateError> {
        remove(&self.dir.join(WORK))
    }
}

/// Removes the file or folder `path`, if it is there.
///
/// # Errors
/// The operating system's.
pub fn remove(path: &Path) -> Result<(), CurateError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CurateError::io(path)(error)),
        _ => Ok(()),
    }
}

/// `value` as JSON on several lines.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings, numbers and maps with names as keys are always JSON.
    let mut json = serde_json::to_vec_pretty(value).expect("it is always JSON");
    json.push(b'\n');
    json
}

/// Makes names in the folder `dir` durable.
///
/// # Errors
/// The operating system's.
pub fn sync(dir: &Path) -> Result<(), CurateError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(CurateError::io(dir))
}

/// How a file is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// With others.
    Together,
    /// Nobody else has it.
    Alone,
    /// The same, and others are waited for.
    Waiting,
}

impl Lock {
    fn of(is_alone: bool) -> Self {
        if is_alone { Self::Alone } else { Self::Together }
    }
}

/// The file `path`, locked as long as it is open.
fn lock(path: &Path, how: Lock) -> Result<File, CurateError> {
    let file = File::create(path).map_err(CurateError::io(path))?;
    let locked = match how {
        Lock::Together => file.try_lock_shared(),
        Lock::Alone => file.try_lock(),
        Lock::Waiting => file.lock().map_err(TryLockError::Error),
    };
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let reason = "another process is curating there: wait for its end, or choose another folder";
            Err(CurateError::Usage(format!("{}: {reason}", path.display())))
        }
        // There are file systems without locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(CurateError::io(path)(error)),
    }
}

/// Whether `dir`, in which it is not said what was asked, is empty or not there, or holds what a curation begins with.
fn is_begun(dir: &Path) -> Result<bool, CurateError> {
    let names = |dir: &Path| -> Result<Vec<String>, CurateError> {
        match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries
                .and_then(|entries| {
                    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
                })
                .map_err(CurateError::io(dir)),
        }
    };
    let is_ours = names(dir)?.iter().all(|name| name == WORK || name.starts_with(ASKED));
    Ok(is_ours && (!dir.join(WORK).exists() || names(&dir.join(WORK))?.iter().all(|name| name.starts_with("lock"))))
}
