//! Rows that are there already: exact duplicates, near-duplicates, and texts of benchmarks.
//!
//! While a unit's rows are kept their keys are written ([`UnitKeys`]). When all units have theirs, [`find`] sorts keys
//! of all units, a part of them at a time, and says for each unit which rows are to go.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::CurateError;
use crate::reason::Reason;

/// `[duplicates]` of a curation's recipe.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DuplicatesRecipe {}

impl DuplicatesRecipe {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// Its keys contradict each other.
    pub fn check(&self) -> Result<(), (String, String)> {
        Ok(())
    }
}

/// The keys of a unit's rows, being written into a file.
#[derive(Debug)]
pub struct UnitKeys {}

impl UnitKeys {
    /// Begins the file `path`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn create(_path: &Path, _recipe: &DuplicatesRecipe) -> Result<Self, CurateError> {
        Ok(Self {})
    }

    /// Adds the unit's next row.
    ///
    /// # Errors
    /// The operating system's.
    pub fn add(&mut self, _query: &str, _passage: &str) -> Result<(), CurateError> {
        Ok(())
    }

    /// Ends the file, which is then on the disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn finish(self) -> Result<(), CurateError> {
        Ok(())
    }
}

/// What [`find`] found: for each reason a number, and for each unit the rows that go.
#[derive(Debug, Default)]
pub struct Found {
    /// The reasons, in the order of precedence.
    pub reasons: Vec<Reason>,
    /// For each unit, in the order of the units, the file with its rows to drop, which [`dropped_rows`] reads.
    pub units: Vec<PathBuf>,
}

/// Finds the rows to drop among `units`, the files of keys in the order of precedence: of equal rows the first stays.
/// `scratch` is a folder of its own, whose content nobody needs afterwards but [`Found::units`].
///
/// # Errors
/// The operating system's; a benchmark of `against` cannot be read.
pub fn find(
    _units: &[PathBuf],
    _recipe: &DuplicatesRecipe,
    _base: &Path,
    _scratch: &Path,
    _threads: usize,
) -> Result<Found, CurateError> {
    Ok(Found::default())
}

/// Rows to drop, by number within their unit, ascending, with the index of the reason.
///
/// # Errors
/// The operating system's.
pub fn dropped_rows(_file: &Path) -> Result<Vec<(u32, u16)>, CurateError> {
    Ok(Vec::new())
}
