//! Files of raw text, to pairs: kinds of sources and formats of files.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tercet_sampler::ReadAt;

use crate::error::CurateError;
use crate::pair::Pair;
use crate::reason::Reason;

/// A `[[source]]` of a curation's recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name: a file name's characters.
    pub name: String,
    /// Its files, with `*` and `?`.
    pub files: Vec<String>,
    /// Keys of `[filters]` that are others for this source.
    #[serde(default)]
    pub filters: toml::Table,
}

/// What a record of a file gives.
#[derive(Debug)]
pub enum Offered {
    /// A pair.
    Pair(Pair),
    /// None, for this reason, and the text to show.
    Dropped(Reason, String),
}

impl Source {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// Its keys contradict each other.
    pub fn check(&self) -> Result<(), (String, String)> {
        Ok(())
    }

    /// Its files below `base`, each once, in the order of their paths.
    ///
    /// # Errors
    /// A pattern matches nothing. The operating system's.
    pub fn files(&self, base: &Path) -> Result<Vec<PathBuf>, CurateError> {
        Ok(self.files.iter().map(|file| base.join(file)).collect())
    }

    /// Calls `visit` with what each record of `file` gives, in order.
    ///
    /// # Errors
    /// The file cannot be read or a record is not what the source says, or what `visit` ends with.
    pub fn read(
        &self,
        file: &Path,
        _visit: &mut dyn FnMut(&ReadAt, Offered) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        Err(CurateError::data(file, "not yet"))
    }
}
