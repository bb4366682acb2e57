//! What a curation was asked for, and in what another asks for something else.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::recipe::Recipe;
use super::units::{Unit, bytes_of};
use crate::error::CurateError;

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

/// In what something else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// In the files of sources alone: what was read of the same ones is what would be read again.
    Files,
    /// In what all rows depend on.
    All(&'static str),
}

impl Asked {
    /// What `recipe` asks for of these units.
    ///
    /// # Errors
    /// A benchmark or a model is none, or is not there.
    pub fn new(recipe: &Recipe, first: Option<u64>, units: &[Unit]) -> Result<Self, CurateError> {
        let of_unit = |unit: &Unit| unit.files.iter().map(|(path, bytes)| (recipe.name_of(path), *bytes)).collect();
        let beside = recipe.read_beside()?.into_iter().map(|path| Ok((recipe.name_of(&path), bytes_of(&path)?)));
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: recipe.to_toml(),
            first,
            units: units.iter().map(of_unit).collect(),
            beside: beside.collect::<Result<_, CurateError>>()?,
        })
    }

    /// In what `asked` is something else, if it is.
    pub fn other(&self, asked: &Self) -> Option<Other> {
        let Self { version, recipe, first, units, beside } = self;
        if *recipe != asked.recipe {
            Some(Other::All("another recipe"))
        } else if *first != asked.first {
            Some(Other::All("another --first"))
        } else if *version != asked.version {
            Some(Other::All("another version of this program"))
        } else if *beside != asked.beside {
            let what = "other benchmarks, another model of languages or another tokenizer, or some of other sizes";
            Some(Other::All(what))
        } else {
            (*units != asked.units).then_some(Other::Files)
        }
    }
}

impl Other {
    /// The error of who asks for it in the folder `dir`.
    pub fn refused(self, dir: &Path) -> CurateError {
        let what = match self {
            Self::Files => "other files, or files of other sizes, and is done",
            Self::All(what) => what,
        };
        CurateError::Usage(format!("{}: was begun with {what}: choose another folder, or remove it", dir.display()))
    }
}
