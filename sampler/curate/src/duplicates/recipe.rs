//! `[duplicates]` of a curation's recipe.

use serde::{Deserialize, Serialize};

use super::signature::Bands;

/// Functions of a text's keys at most: what is beyond costs time alone.
const MOST_FUNCTIONS: usize = 1024;

/// `[duplicates]` of a curation's recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DuplicatesRecipe {
    /// Whether rows go whose query and passage are another's.
    pub exact: bool,
    /// What rows must have nearly in common with another to go.
    pub near: Near,
    /// Units (words, or characters where a script puts no blanks) of a sequence. Texts are near that share most of
    /// their sequences.
    pub ngram: usize,
    /// Keys of a text, any one of which is enough. More keys find texts that are less alike.
    pub bands: usize,
    /// Functions that a key is made of. More functions find only texts that are more alike.
    pub rows: usize,
    /// Benchmarks, with `*` and `?`: evaluation folders, or files of texts. Rows with one of their texts go.
    pub against: Vec<String>,
    /// Which of a benchmark's documents count.
    pub documents: Documents,
}

impl Default for DuplicatesRecipe {
    fn default() -> Self {
        Self {
            exact: true,
            near: Near::Kind,
            ngram: 5,
            bands: 14,
            rows: 8,
            against: Vec::new(),
            documents: Documents::All,
        }
    }
}

/// What rows must have nearly in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Near {
    /// What the source's kind says.
    Kind,
    /// The passage, whatever the query is.
    Passage,
    /// The query and the passage.
    Pair,
    /// Near-duplicates stay. Benchmarks' texts are looked for all the same.
    None,
}

/// What rows of a source must have nearly in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The passage: a page that comes again under another title is there already.
    Passage,
    /// The query and the passage: several questions to a paragraph, or instructions with a short output, are several
    /// rows.
    Pair,
}

/// Which of a benchmark's documents count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// All.
    All,
    /// Those that a query's judgments call relevant. A corpus may be all of Wikipedia.
    Judged,
    /// None, but the queries.
    None,
}

impl DuplicatesRecipe {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// Its keys contradict each other.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: String| Err((format!("duplicates.{key}"), reason));
        if !(1..=64).contains(&self.ngram) {
            return wrong("ngram", format!("{} units: a sequence has from 1 to 64", self.ngram));
        }
        for (key, number) in [("bands", self.bands), ("rows", self.rows)] {
            if !(1..=MOST_FUNCTIONS).contains(&number) {
                return wrong(key, format!("{number}: from 1 to {MOST_FUNCTIONS} are possible"));
            }
        }
        if self.bands * self.rows > MOST_FUNCTIONS {
            let product = self.bands * self.rows;
            return wrong("bands", format!("bands × rows = {product} functions, at most {MOST_FUNCTIONS}"));
        }
        if self.against.is_empty() && self.documents != Documents::All {
            return wrong("documents", "there are no benchmarks: name them in against".into());
        }
        Ok(())
    }

    /// The shape of MinHash keys; none if nothing is compared by them.
    pub(super) fn shape(&self) -> Option<Bands> {
        let Self { ngram, bands, rows, .. } = *self;
        (self.near != Near::None || !self.against.is_empty()).then_some(Bands { ngram, bands, rows })
    }

    /// What rows of a source must have nearly in common, whose kind says `of`.
    pub(super) fn compared(&self, of: Compared) -> Compared {
        match self.near {
            Near::Passage => Compared::Passage,
            Near::Pair => Compared::Pair,
            Near::Kind | Near::None => of,
        }
    }
}
