//! The folder of a curation: what is asked for there, what is finished, and who is at work.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_sampler::write_durably;

use super::recipe::Recipe;
use super::units::{Unit, bytes_of};
use crate::args::UnitsShare;
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
    /// The program's version.
    version: String,
    /// The recipe with all that it says, as TOML.
    recipe: String,
    /// Records that are read of each file, if not all.
    first: Option<u64>,
    /// The files of each unit and their bytes.
    units: Vec<Vec<(String, u64)>>,
    /// What else is read: benchmarks, models of languages, a tokenizer.
    beside: Vec<(String, u64)>,
}

impl Asked {
    /// What `recipe` asks for of these units.
    ///
    /// # Errors
    /// A benchmark or a model is none, or is not there.
    pub fn new(recipe: &Recipe, first: Option<u64>, units: &[Unit]) -> Result<Self, CurateError> {
        // As the recipe names them, from wherever it is called.
        let name = |path: &Path| path.strip_prefix(&recipe.base).unwrap_or(path).to_string_lossy().into_owned();
        let of_unit = |unit: &Unit| unit.files.iter().map(|(path, bytes)| (name(path), *bytes)).collect();
        let beside = recipe.read_beside()?.into_iter().map(|path| Ok((name(&path), bytes_of(&path)?)));
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: recipe.to_toml(),
            first,
            units: units.iter().map(of_unit).collect(),
            beside: beside.collect::<Result<_, CurateError>>()?,
        })
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
    pub fn open(dir: &Path, asked: &Asked, share: Option<UnitsShare>) -> Result<Self, CurateError> {
        let work = dir.join(WORK);
        if !dir.join(ASKED).exists() && !is_begun(dir)? {
            let reason = "is there, and is not a curation's: nothing is overwritten, choose another";
            return Err(CurateError::Usage(format!("{}: {reason}", dir.display())));
        }
        if dir.join(REPORT).exists() && !work.exists() {
            // Done: nothing but what was asked is read any more, and nothing is locked for long.
            let whole = File::open(dir.join(ASKED)).map_err(CurateError::io(dir))?;
            let place = Self { dir: dir.to_owned(), _whole: whole, _share: None };
            place.compare(asked)?;
            return Ok(place);
        }
        fs::create_dir_all(&work).map_err(CurateError::io(&work))?;
        let whole = lock(&work.join("lock"), Lock::of(share.is_none()))?;
        let own = share.map(|share| format!("lock-{}-{}", share.index, share.of));
        let own = own.map(|name| lock(&work.join(name), Lock::Alone)).transpose()?;
        let place = Self { dir: dir.to_owned(), _whole: whole, _share: own };
        // Shares may begin together.
        let beginning = lock(&work.join("lock-asked"), Lock::Waiting)?;
        match place.dir.join(ASKED).exists() {
            true => place.compare(asked)?,
            false => place.write(ASKED, &to_json(asked))?,
        }
        drop(beginning);
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
            Asked { version, .. } if version != asked.version => "another version of this program",
            Asked { units, .. } if units != asked.units => "other files, or files of other sizes",
            _ => "other benchmarks, another model of languages or another tokenizer, or some of other sizes",
        };
        let dir = self.dir.display();
        Err(CurateError::Usage(format!("{dir}: was begun with {what}: choose another folder, or remove it")))
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
