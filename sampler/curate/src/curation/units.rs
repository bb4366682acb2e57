//! Units: some files of a source, in the order in which of equal rows the first stays.

use std::fs;
use std::path::{Path, PathBuf};

use super::recipe::Recipe;
use crate::error::CurateError;

/// Files of a unit together, in bytes, unless one alone is larger: enough that a folder for each is nothing beside it.
const UNIT_BYTES: u64 = 16 << 20;
/// Files of a unit at most.
const UNIT_FILES: usize = 4096;

/// Files of a source that are read one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its number among all.
    pub number: usize,
    /// The index of its source in the recipe.
    pub source: usize,
    /// The name of its folder, which follows from its source's name and its files' names and bytes alone.
    pub name: String,
    /// The files and their bytes.
    pub files: Vec<(PathBuf, u64)>,
}

/// All units of a recipe: sources in the recipe's order, files in the order of their paths. A file that is larger than
/// a unit is one alone.
///
/// # Errors
/// A pattern matches nothing; the operating system's.
pub fn all(recipe: &Recipe) -> Result<Vec<Unit>, CurateError> {
    let mut units: Vec<Unit> = Vec::new();
    for (source, asked) in recipe.source.iter().enumerate() {
        let mut room = 0;
        for path in asked.files(&recipe.base)? {
            let with = asked.read_with(&path)?;
            let bytes = with.iter().map(|path| bytes_of(path)).sum::<Result<u64, _>>()?;
            match units
                .last_mut()
                .filter(|unit| unit.source == source && bytes <= room && unit.files.len() < UNIT_FILES)
            {
                Some(unit) => {
                    unit.files.push((path, bytes));
                    room -= bytes;
                }
                None => {
                    units.push(Unit { number: units.len(), source, name: String::new(), files: vec![(path, bytes)] });
                    room = UNIT_BYTES.saturating_sub(bytes);
                }
            }
        }
    }
    units.iter_mut().for_each(|unit| unit.name = name_of(unit, recipe));
    Ok(units)
}

/// The name of a unit's folder.
fn name_of(unit: &Unit, recipe: &Recipe) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| _ = hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    add(&recipe.source[unit.source].name);
    for (path, bytes) in &unit.files {
        add(&recipe.name_of(path));
        add(&bytes.to_string());
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

/// The bytes of a file, or of all files below a folder.
///
/// # Errors
/// The operating system's.
pub fn bytes_of(path: &Path) -> Result<u64, CurateError> {
    let failed = CurateError::io(path);
    let found = fs::metadata(path).map_err(&failed)?;
    if !found.is_dir() {
        return Ok(found.len());
    }
    let entries = fs::read_dir(path).map_err(&failed)?;
    entries.map(|entry| bytes_of(&entry.map_err(&failed)?.path())).sum()
}
