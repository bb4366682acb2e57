//! Rules that a pair must keep: lengths, languages, and the public rules for the quality of a text.

use serde::{Deserialize, Serialize};

use crate::pair::Pair;
use crate::reason::Reason;

/// `[filters]` of a curation's recipe.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FiltersRecipe {}

/// Filters that are ready to judge. Threads share them.
#[derive(Debug)]
pub struct Filters {}

/// What a pair is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The language of its passage, by its code, or `und`.
    pub language: String,
    /// The first rule that it breaks.
    pub broken: Option<Reason>,
}

impl Filters {
    /// Makes them ready.
    ///
    /// # Errors
    /// The key of the recipe that is wrong, and why.
    pub fn new(_recipe: &FiltersRecipe) -> Result<Self, (String, String)> {
        Ok(Self {})
    }

    /// Judges a pair.
    pub fn judge(&self, pair: &Pair) -> Judged {
        Judged { language: pair.language.clone().unwrap_or("und".into()), broken: None }
    }
}
