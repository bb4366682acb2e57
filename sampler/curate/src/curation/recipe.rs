//! The recipe of a curation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::duplicates::DuplicatesRecipe;
use crate::error::CurateError;
use crate::filters::FiltersRecipe;
use crate::relevance::RelevanceRecipe;
use crate::sources::Source;

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Where pairs come from, in the order of precedence: of equal rows the first stays.
    pub source: Vec<Source>,
    /// Rules for each pair.
    #[serde(default)]
    pub filters: toml::Table,
    /// Rows that are there already.
    #[serde(default)]
    pub duplicates: DuplicatesRecipe,
    /// A model's judgment.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relevance: Option<RelevanceRecipe>,
    /// The folder to which its paths are relative: its own.
    #[serde(skip)]
    pub base: PathBuf,
}

impl Recipe {
    /// Reads and checks the recipe at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is none; with the line, or the key.
    pub fn load(path: &Path) -> Result<Self, CurateError> {
        let text = std::fs::read_to_string(path).map_err(CurateError::io(path))?;
        let wrong = |reason| CurateError::Usage(format!("{}: {reason}", path.display()));
        let mut recipe: Self = tercet_configs::from_toml(&text).map_err(wrong)?;
        recipe.base = path.parent().unwrap_or(Path::new("")).to_owned();
        recipe.check().map_err(|(key, reason)| wrong(format!("{key}: {reason}")))?;
        Ok(recipe)
    }

    /// All that it says, as TOML.
    pub fn to_toml(&self) -> String {
        // Serialising plain structs of numbers, strings and enums cannot fail.
        toml::to_string(self).expect("a recipe is always TOML")
    }

    fn check(&self) -> Result<(), (String, String)> {
        if self.source.is_empty() {
            return Err(("source".into(), "there is none: a [[source]] is expected, with name and files".into()));
        }
        let mut names = BTreeSet::new();
        for source in &self.source {
            let within = |(key, reason): (String, String)| (format!("source {:?}: {key}", source.name), reason);
            let is_file_name = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
            if !is_file_name(&source.name) {
                return Err(within(("name".into(), "it names a file: no slash, no point at its beginning".into())));
            }
            if !names.insert(source.name.as_str()) {
                return Err(within(("name".into(), "two sources have it".into())));
            }
            source.check().map_err(within)?;
            self.filters_of(source).map_err(within)?;
        }
        self.duplicates.check()?;
        self.relevance.as_ref().map_or(Ok(()), RelevanceRecipe::check)
    }

    /// The filters for a source: its own keys before the common ones.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn filters_of(&self, source: &Source) -> Result<FiltersRecipe, (String, String)> {
        let mut table = self.filters.clone();
        table.extend(source.filters.clone());
        tercet_configs::from_toml(&table.to_string()).map_err(|reason| ("filters".to_owned(), reason))
    }
}
