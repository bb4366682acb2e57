//! The recipe of `tercet synthesize`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::caps::Caps;
use super::parameters;
use super::prompt::{PRESETS, Prompt};
use crate::error::CurateError;

/// A key of the recipe, and what is wrong with its value.
type Wrong = (String, String);

/// All of it. Paths are relative to the recipe's folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Draws documents and paragraphs.
    #[serde(default)]
    pub seed: u64,
    /// Where documents come from.
    pub documents: Vec<Documents>,
    /// How long documents and paragraphs are.
    #[serde(default)]
    pub lengths: Lengths,
    /// How many questions there are to be.
    pub questions: Questions,
    /// What the language model is told: `multilongdoc`, `multilongdoc-zh` or a file, for all languages or by language.
    #[serde(default = "paper")]
    pub prompt: PerLanguage<String>,
    /// The language model.
    pub llm: Llm,
    /// Limits and prices.
    #[serde(default)]
    pub caps: Caps,
    /// What a question must be.
    #[serde(default)]
    pub checks: Checks,
}

/// `[[documents]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// JSON Lines, Parquet or Arrow, with `*` and `?` in the names.
    pub files: Vec<String>,
    /// The field of the text: `a`, `a.b` or `a+b`.
    #[serde(default = "text")]
    pub text: String,
    /// The field of the title, which is not in the text. A document may have none.
    #[serde(default = "title")]
    pub title: String,
    /// The language of all documents. Without it a document's own field `lang` or `language` says it, or else it is
    /// detected.
    pub language: Option<String>,
}

/// `[lengths]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lengths {
    /// A tokenizer.json or its folder: lengths are tokens of it; without it, characters.
    pub tokenizer: Option<PathBuf>,
    /// A document's least and greatest length; default: 8,000 to 128,000 characters, 2,000 to 32,000 tokens.
    pub document: Option<[usize; 2]>,
    /// A paragraph's; default: 400 to 2,000 characters, 100 to 500 tokens.
    pub paragraph: Option<[usize; 2]>,
}

/// `[questions]`: numbers, for all languages or by language.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// Training rows.
    #[serde(default)]
    pub train: PerLanguage<u32>,
    /// Queries of the split `dev`.
    #[serde(default)]
    pub dev: PerLanguage<u32>,
    /// Queries of the split `test`.
    #[serde(default)]
    pub test: PerLanguage<u32>,
    /// Documents of the folders for evaluation, those of the queries among them.
    #[serde(default)]
    pub corpus: PerLanguage<u32>,
}

/// A value for all languages, or for each one or `default`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum PerLanguage<T> {
    /// For all.
    Same(T),
    /// By language.
    By(BTreeMap<String, T>),
}

/// `[llm]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Llm {
    /// Where the interface begins: `/chat/completions` is added.
    pub endpoint: String,
    /// The model's name there.
    pub model: String,
    /// The environment variable that has the key.
    pub api_key_env: Option<String>,
    /// What else a request says: `max_tokens` or `max_completion_tokens`, `temperature`, `seed`, …
    #[serde(default = "parameters")]
    pub parameters: toml::Table,
    /// Requests under way at the same time.
    #[serde(default = "eight")]
    pub concurrency: usize,
    /// Seconds for a request and its answer.
    #[serde(default = "ninety")]
    pub timeout_secs: f64,
    /// How often a request is sent again that the server did not answer.
    #[serde(default = "five")]
    pub retries: u32,
    /// Seconds until it is sent again for the first time; they double each time, up to a minute.
    #[serde(default = "one")]
    pub backoff_secs: f64,
    /// The longest wait that a server may ask for (`Retry-After`), in seconds.
    #[serde(default = "ten_minutes")]
    pub patience_secs: f64,
    /// Requests a minute at most; 0: no limit.
    #[serde(default)]
    pub requests_per_minute: u32,
    /// Tokens a minute at most, in and out; 0: no limit.
    #[serde(default)]
    pub tokens_per_minute: u32,
}

/// `[checks]`: an answer that fails one is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    /// Exactly one question, and nothing else.
    pub one_question: bool,
    /// In the paragraph's language.
    pub language: bool,
    /// Without pronouns.
    pub no_pronouns: bool,
    /// The part of it that may stand in the paragraph in one piece.
    pub max_copy: f64,
    /// Characters.
    pub min_chars: usize,
    /// Characters.
    pub max_chars: usize,
    /// How often a document is asked about, each time by another paragraph, until an answer passes.
    pub attempts: u32,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            one_question: true,
            language: true,
            no_pronouns: true,
            max_copy: 0.8,
            min_chars: 10,
            max_chars: 300,
            attempts: 2,
        }
    }
}

impl<T: Default> Default for PerLanguage<T> {
    fn default() -> Self {
        Self::Same(T::default())
    }
}

impl<T> PerLanguage<T> {
    /// The value for `language`.
    pub fn of(&self, language: &str) -> Option<&T> {
        match self {
            Self::Same(value) => Some(value),
            Self::By(values) => values.get(language).or_else(|| values.get("default")),
        }
    }

    /// The languages that have a value of their own.
    fn languages(&self) -> impl Iterator<Item = &str> {
        let by = match self {
            Self::Same(_) => None,
            Self::By(values) => Some(values),
        };
        by.into_iter().flat_map(BTreeMap::keys).map(String::as_str).filter(|name| *name != "default")
    }

    /// All values.
    pub fn values(&self) -> Box<dyn Iterator<Item = &T> + '_> {
        match self {
            Self::Same(value) => Box::new(std::iter::once(value)),
            Self::By(values) => Box::new(values.values()),
        }
    }
}

impl PerLanguage<u32> {
    /// The number for `language`; 0 if there is none.
    pub fn number(&self, language: &str) -> usize {
        self.of(language).map_or(0, |number| *number as usize)
    }
}

impl Questions {
    /// The questions of a language, without its corpus.
    pub fn of(&self, language: &str) -> usize {
        [&self.train, &self.dev, &self.test].iter().map(|split| split.number(language)).sum()
    }

    /// The languages that are asked for by their names.
    pub fn languages(&self) -> BTreeSet<&str> {
        let all = [&self.train, &self.dev, &self.test].into_iter().flat_map(PerLanguage::languages);
        all.filter(|name| self.of(name) > 0).collect()
    }
}

impl Recipe {
    /// Reads and checks the recipe at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is none; with the line, or the key.
    pub fn load(path: &Path) -> Result<Self, CurateError> {
        let text = tercet_configs::read_text(path).map_err(CurateError::io(path))?;
        let wrong = |reason| CurateError::Usage(format!("{}: {reason}", path.display()));
        let recipe: Self = tercet_configs::from_toml(&text).map_err(wrong)?;
        recipe.check().map_err(|(key, reason)| wrong(format!("{key}: {reason}")))?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), Wrong> {
        let wrong = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        if self.documents.is_empty() {
            return wrong("documents", "at least one is needed, with its files");
        }
        let questions = &self.questions;
        if [&questions.train, &questions.dev, &questions.test].iter().all(|n| n.values().all(|&n| n == 0)) {
            return wrong("questions", "none is asked for: train, dev or test must be more than 0");
        }
        for (key, range) in [("lengths.document", self.lengths.document), ("lengths.paragraph", self.lengths.paragraph)]
        {
            if range.is_some_and(|[min, max]| min == 0 || max < min) {
                return wrong(key, "the least length is at least 1, and the greatest is not less");
            }
        }
        self.check_llm()?;
        self.caps.check()?;
        let checks = &self.checks;
        if !(0.0..=1.0).contains(&checks.max_copy) {
            return wrong("checks.max_copy", "a part is between 0 and 1");
        }
        if checks.attempts == 0 {
            return wrong("checks.attempts", "a document is asked about at least once");
        }
        if checks.max_chars < checks.min_chars {
            return wrong("checks.max_chars", "less than checks.min_chars");
        }
        Ok(())
    }

    fn check_llm(&self) -> Result<(), Wrong> {
        let llm = &self.llm;
        let wrong = |key: &str, reason: &str| Err((format!("llm.{key}"), reason.to_owned()));
        // What stands there may be a key, so it is not repeated.
        if !["http://", "https://"].iter().any(|scheme| llm.endpoint.starts_with(scheme)) {
            return wrong("endpoint", "an address that begins with http:// or https:// is expected");
        }
        if llm.endpoint.contains(['@', '?', '#', ' ']) {
            return wrong(
                "endpoint",
                "no user, question mark or blank belongs there; the key is read from api_key_env",
            );
        }
        let mut route = llm.endpoint.trim_end_matches('/');
        if route.ends_with("/chat/completions") {
            route = route.trim_end_matches("/chat/completions");
            return wrong("endpoint", &format!("/chat/completions is added to it: write {route:?}"));
        }
        let is_name = |name: &String| {
            let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            name.chars().all(is_of_name) && name.starts_with(|c: char| !c.is_ascii_digit())
        };
        if !llm.api_key_env.as_ref().is_none_or(is_name) {
            let reason = "the name of an environment variable is expected (letters, digits and _), which has the key; the \
                          key itself belongs into no file";
            return wrong("api_key_env", reason);
        }
        if llm.model.is_empty() {
            return wrong("model", "it has no name");
        }
        parameters::check(&llm.parameters).map_err(|(key, reason)| (format!("llm.parameters{key}"), reason))?;
        if !(1..=1024).contains(&llm.concurrency) {
            return wrong("concurrency", "1 to 1024");
        }
        for (key, secs) in [("timeout_secs", llm.timeout_secs), ("backoff_secs", llm.backoff_secs)] {
            if !(0.001..=86_400.0).contains(&secs) {
                return wrong(key, "0.001 to 86,400 seconds");
            }
        }
        if !(0.0..=86_400.0).contains(&llm.patience_secs) {
            return wrong("patience_secs", "0 to 86,400 seconds");
        }
        Ok(())
    }

    /// The prompts by language, read from their files below `base`.
    ///
    /// # Errors
    /// A file is not there, or has no place for the text.
    pub fn prompts(&self, base: &Path) -> Result<PerLanguage<Prompt>, CurateError> {
        let prompt = |name: &String| match PRESETS.iter().find(|(preset, _)| preset == name) {
            Some((_, text)) => Ok(Prompt::new(text)),
            None => Prompt::load(&base.join(name)),
        };
        Ok(match &self.prompt {
            PerLanguage::Same(name) => PerLanguage::Same(prompt(name)?),
            PerLanguage::By(names) => {
                let prompts = names.iter().map(|(language, name)| Ok((language.clone(), prompt(name)?)));
                PerLanguage::By(prompts.collect::<Result<_, CurateError>>()?)
            }
        })
    }
}

fn paper() -> PerLanguage<String> {
    PerLanguage::Same("multilongdoc".to_owned())
}

fn text() -> String {
    "text".to_owned()
}

fn title() -> String {
    "title".to_owned()
}

fn parameters() -> toml::Table {
    toml::Table::from_iter([
        ("temperature".to_owned(), 0.0.into()),
        ("max_tokens".to_owned(), 128.into()),
        ("seed".to_owned(), 42.into()),
    ])
}

fn eight() -> usize {
    8
}

fn five() -> u32 {
    5
}

fn one() -> f64 {
    1.0
}

fn ninety() -> f64 {
    90.0
}

fn ten_minutes() -> f64 {
    600.0
}
