//! The recipe of a curation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tercet_sampler::TextTokenizer;

use crate::duplicates::{self, DuplicatesRecipe};
use crate::error::CurateError;
use crate::filters::{Filters, FiltersRecipe};
use crate::relevance::{self, RelevanceRecipe};
use crate::sources::Source;

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// A tokenizer.json, or a folder with one: by it the lengths of rows are told in tokens as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
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

/// The filters of a recipe, each where it is typed.
#[derive(Deserialize)]
struct Typed {
    #[serde(default, rename = "filters")]
    _filters: FiltersRecipe,
    #[serde(rename = "source")]
    _source: Vec<TypedSource>,
}

/// The filters of a source.
#[derive(Deserialize)]
struct TypedSource {
    #[serde(default, rename = "filters")]
    _filters: FiltersRecipe,
}

impl Recipe {
    /// Reads and checks the recipe at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is none; with the line, or the key.
    pub fn load(path: &Path) -> Result<Self, CurateError> {
        let text = tercet_configs::read_text(path).map_err(CurateError::io(path))?;
        let wrong = |reason| CurateError::Usage(format!("{}: {reason}", path.display()));
        let mut recipe: Self = tercet_configs::from_toml(&text).map_err(wrong)?;
        // Filters are kept as they are typed, for each source to have its own. What is wrong with one has its line
        // here.
        let _: Typed = tercet_configs::from_toml(&text).map_err(wrong)?;
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
            if !names.insert(source.name.as_str()) {
                return Err(within(("name".into(), "two sources have it".into())));
            }
            source.check().map_err(within)?;
            let filters = self.filters_of(source).map_err(within)?;
            let without = source.filters.keys().find_map(|key| Some((key, filters.without_effect(key)?)));
            if let Some((key, reason)) = without {
                return Err(within((format!("filters.{key}"), reason)));
            }
        }
        // What is said for all sources is for those of them that have the rules.
        let all: Vec<FiltersRecipe> = self.source.iter().map(|s| self.filters_of(s)).collect::<Result<_, _>>()?;
        for key in self.filters.keys() {
            let without: Option<Vec<String>> = all.iter().map(|filters| filters.without_effect(key)).collect();
            if let Some(reason) = without.and_then(|reasons| reasons.into_iter().next()) {
                return Err((format!("filters.{key}"), reason));
            }
        }
        self.duplicates.check()?;
        self.relevance.as_ref().map_or(Ok(()), RelevanceRecipe::check)
    }

    /// The filters for each source. Sources that ask for the same share them, and with them a model of languages.
    ///
    /// # Errors
    /// The source and the key that are wrong, and why; a model of languages cannot be read.
    pub fn filters(&self) -> Result<Vec<Arc<Filters>>, CurateError> {
        let mut made: BTreeMap<String, Arc<Filters>> = BTreeMap::new();
        let of = |source: &Source| {
            let wrong = |(key, reason)| CurateError::Usage(format!("source {:?}: {key}: {reason}", source.name));
            let asked = self.merged(source).to_string();
            if let Some(filters) = made.get(&asked) {
                return Ok(filters.clone());
            }
            let filters =
                self.filters_of(source).and_then(|recipe| Filters::new(&recipe, &self.base)).map_err(wrong)?;
            Ok(made.entry(asked).or_insert(Arc::new(filters)).clone())
        };
        self.source.iter().map(of).collect()
    }

    /// The tokenizer by which lengths are told, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn tokenizer(&self) -> Result<Option<TextTokenizer>, CurateError> {
        let load = |path: PathBuf| {
            TextTokenizer::load(&path)
                .map_err(|error| CurateError::Usage(format!("tokenizer: {}", tercet_configs::error_line(&error))))
        };
        self.tokenizer_file().map(load).transpose()
    }

    fn tokenizer_file(&self) -> Option<PathBuf> {
        let path = self.base.join(self.tokenizer.as_ref()?);
        Some(if path.is_dir() { path.join("tokenizer.json") } else { path })
    }

    /// A file's path as the recipe names it, from wherever it is called.
    pub fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(&self.base).unwrap_or(path).to_string_lossy().into_owned()
    }

    /// The files beside those of sources that what is written depends on: benchmarks, models of languages, a tokenizer.
    ///
    /// # Errors
    /// A benchmark or a model is none, or is not there.
    pub fn read_beside(&self) -> Result<Vec<PathBuf>, CurateError> {
        let mut all: Vec<PathBuf> =
            duplicates::benchmarks(&self.duplicates.against, &self.base)?.into_iter().map(|one| one.path).collect();
        if let Some(relevance) = &self.relevance {
            // Its files are not among them: what scores follow from is kept with the scores.
            relevance::check(relevance, &self.base)?;
        }
        let lid = |source| Some(self.merged(source).get("lid")?.as_str()?.to_owned());
        all.extend(self.source.iter().filter_map(lid).map(|lid| self.base.join(lid)));
        all.extend(self.tokenizer_file());
        Ok(all)
    }

    fn merged(&self, source: &Source) -> toml::Table {
        let mut table = self.filters.clone();
        table.extend(source.filters.clone());
        table
    }

    /// The filters for a source: its own keys before the common ones.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    fn filters_of(&self, source: &Source) -> Result<FiltersRecipe, (String, String)> {
        tercet_configs::from_toml(&self.merged(source).to_string()).map_err(|reason| ("filters".to_owned(), reason))
    }
}
