//! Units: the files of all sources, in the order in which of equal rows the first stays.

use std::path::PathBuf;

use super::recipe::Recipe;
use crate::error::CurateError;

/// A file of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its number among all.
    pub number: usize,
    /// The index of its source in the recipe.
    pub source: usize,
    /// The file.
    pub file: PathBuf,
}

/// All files of a recipe: sources in the recipe's order, files in the order of their paths.
///
/// # Errors
/// A pattern matches nothing, a file belongs to a source twice; the operating system's.
pub fn all(recipe: &Recipe) -> Result<Vec<Unit>, CurateError> {
    let mut units = Vec::new();
    for (source, asked) in recipe.source.iter().enumerate() {
        for file in asked.files(&recipe.base)? {
            units.push(Unit { number: units.len(), source, file });
        }
    }
    Ok(units)
}
