//! The folder of a curation: what is asked for there, what is finished, and who is at work.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_sampler::write_durably;

use super::recipe::Recipe;
use super::units::Unit;
use crate::args::FilesShare;
use crate::error::CurateError;

/// The report is written last: where it is, all is done.
pub const REPORT: &str = "report.json";
/// The same to read.
pub const TABLE: &str = "report.txt";

const ASKED: &str = "curation.json";
const WORK: &str = "work";

/// What rows depend on: the same of it gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The recipe with all that it says, as TOML.
    recipe: String,
    /// Records that are read of each file, if not all.
    first: Option<u64>,
    /// Files and their bytes.
    files: Vec<(PathBuf, u64)>,
}

impl Asked {
    /// What `recipe` asks for of these files.
    pub fn new(recipe: &Recipe, first: Option<u64>, units: &[Unit]) -> Self {
        let files = units.iter().flat_map(|unit| unit.files.iter().cloned()).collect();
        Self { recipe: recipe.to_toml(), first, files }
    }
}

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
    /// Opens the folder `dir` for what is asked, or begins it.
    ///
    /// # Errors
    /// Something else was begun there, or somebody is at work there. The operating system's.
    pub fn open(dir: &Path, asked: &Asked, share: Option<FilesShare>) -> Result<Self, CurateError> {
        let work = dir.join(WORK);
        if dir.join(REPORT).exists() && !work.exists() {
            // Done: nothing but what was asked is read any more, and nothing is locked for long.
            let whole = File::open(dir.join(ASKED)).map_err(CurateError::io(dir))?;
            let place = Self { dir: dir.to_owned(), _whole: whole, _share: None };
            place.compare(asked)?;
            return Ok(place);
        }
        if dir.is_dir() && !dir.join(ASKED).exists() && !work.exists() && !is_empty(dir)? {
            let reason = "is there, and is not a curation's: nothing is overwritten, choose another";
            return Err(CurateError::Usage(format!("{}: {reason}", dir.display())));
        }
        fs::create_dir_all(&work).map_err(CurateError::io(&work))?;
        let locked = |name: &str, shared: bool| {
            let path = work.join(name);
            let file = File::create(&path).map_err(CurateError::io(&path))?;
            match if shared { file.try_lock_shared() } else { file.try_lock() } {
                Ok(()) => Ok(file),
                Err(TryLockError::WouldBlock) => {
                    let reason = "another process is curating there: wait for its end, or choose another folder";
                    Err(CurateError::Usage(format!("{}: {reason}", dir.display())))
                }
                // There are file systems without locks.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
                Err(TryLockError::Error(error)) => Err(CurateError::io(&path)(error)),
            }
        };
        let whole = locked("lock", share.is_some())?;
        let own = share.map(|share| locked(&format!("lock-{}-{}", share.index, share.of), false)).transpose()?;
        let place = Self { dir: dir.to_owned(), _whole: whole, _share: own };
        match place.dir.join(ASKED).exists() {
            true => place.compare(asked)?,
            // Shares that begin together write the same.
            false => place.write(ASKED, &to_json(asked))?,
        }
        Ok(place)
    }

    fn compare(&self, asked: &Asked) -> Result<(), CurateError> {
        let path = self.dir.join(ASKED);
        let there = fs::read(&path).map_err(CurateError::io(&path))?;
        let there: Asked =
            serde_json::from_slice(&there).map_err(|error| CurateError::data(&path, error.to_string()))?;
        let what = match there {
            there if there == *asked => return Ok(()),
            Asked { recipe, .. } if recipe != asked.recipe => "another recipe",
            Asked { first, .. } if first != asked.first => "another --first",
            _ => "other files, or files of other sizes",
        };
        let dir = self.dir.display();
        Err(CurateError::Usage(format!("{dir}: was begun with {what}: choose another folder, or remove it")))
    }

    /// Whether the report is written, which is last.
    pub fn is_done(&self) -> bool {
        self.dir.join(REPORT).exists()
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

    /// The folder of a unit, which is there when the unit is read.
    pub fn of_unit(&self, unit: &Unit) -> PathBuf {
        self.dir.join(WORK).join("units").join(format!("{:06}", unit.number))
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
        let work = self.dir.join(WORK);
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CurateError::io(&work)(error)),
            _ => Ok(()),
        }
    }
}

/// `value` as JSON on several lines.
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings, numbers and maps with names as keys are always JSON.
    let mut json = serde_json::to_vec_pretty(value).expect("it is always JSON");
    json.push(b'\n');
    json
}

fn is_empty(dir: &Path) -> Result<bool, CurateError> {
    Ok(fs::read_dir(dir).map_err(CurateError::io(dir))?.next().is_none())
}
