//! Rules that a pair must keep: lengths, languages, and the public rules for the quality of a text.
//!
//! [`recipe`] is what can be asked for. [`rules`] are the published rules, each a number of a [`document`] with a
//! bound; what several of them need, such as [`words`] and [`repeats`], is computed once. [`language`] asks
//! [`fasttext`]'s model or whatlang. [`overlap`] is what query and passage share.

mod characters;
mod document;
mod fasttext;
mod language;
mod overlap;
mod recipe;
mod repeats;
mod rules;
mod words;

use std::cell::RefCell;
use std::path::Path;

use document::Scratch;
use fasttext::Buffers;
use language::{Detected, Detector, UNKNOWN};
use overlap::{Overlap, is_same};
use rules::Rules;

pub use recipe::{FiltersRecipe, Limit, RuleSet, RuleSets};

use crate::pair::Pair;
use crate::reason::Reason;

/// Filters that are ready to judge. Threads share them.
#[derive(Debug)]
pub struct Filters {
    recipe: FiltersRecipe,
    detector: Detector,
    rules: Rules,
}

/// What a pair is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The language of its passage, by its code, or `und`.
    pub language: String,
    /// The first rule that it breaks.
    pub broken: Option<Reason>,
    /// What its passage is to become, where C4's rules took lines or citations out of it.
    pub passage: Option<String>,
}

/// What judging needs, kept between pairs.
#[derive(Debug, Default)]
struct Buffer {
    document: Scratch,
    language: Buffers,
    overlap: Overlap,
}

thread_local! {
    static BUFFER: RefCell<Buffer> = RefCell::default();
}

impl Filters {
    /// Makes them ready. The recipe's paths are relative to `base`.
    ///
    /// # Errors
    /// The key of the recipe that is wrong, and why.
    pub fn new(recipe: &FiltersRecipe, base: &Path) -> Result<Self, (String, String)> {
        recipe.check()?;
        let model = recipe.lid.as_ref().map(|lid| base.join(lid));
        let detector = Detector::new(model.as_deref()).map_err(|reason| ("lid".to_owned(), reason))?;
        let codes = detector.codes();
        for (key, asked) in [("languages", &recipe.languages), ("query_languages", &recipe.query_languages)] {
            if let Some(unknown) = asked.iter().flatten().find(|code| !codes.contains(&code.as_str())) {
                let reason = format!("{unknown:?} is never found, so it would keep nothing: {}", codes.join(", "));
                return Err((key.to_owned(), reason));
            }
        }
        Ok(Self { recipe: recipe.clone(), detector, rules: Rules::new(recipe)? })
    }

    /// The published rules that are asked for: the name of each, what it computes, and its bound.
    pub fn rules(&self) -> Vec<(String, String, String)> {
        self.rules.list()
    }

    /// Judges a pair: its lengths, its languages, what its texts share, and the published rules, in this order.
    pub fn judge(&self, pair: &Pair) -> Judged {
        BUFFER.with_borrow_mut(|buffer| self.judge_with(pair, buffer))
    }

    fn judge_with(&self, pair: &Pair, buffer: &mut Buffer) -> Judged {
        let (recipe, passage) = (&self.recipe, pair.passage.as_str());
        let needs_language = pair.language.is_none() || recipe.languages.is_some() || recipe.language_min.is_some();
        let found =
            needs_language.then(|| self.detector.detect(passage, recipe.languages.as_deref(), &mut buffer.language));
        let language = pair.language.clone().or(found.map(Detected::likely)).unwrap_or(UNKNOWN.to_owned());
        let mut judged = Judged { language, broken: None, passage: None };
        judged.broken = self
            .broken_length(&pair.query, passage, buffer)
            .or_else(|| self.broken_language(found, &pair.query, buffer))
            .or_else(|| self.broken_overlap(pair, buffer));
        if judged.broken.is_none() {
            // Short of a language that is known, a text is taken for what the rules were made for.
            let code = judged.language.split(['-', '_']).next().unwrap_or_default();
            let is_english = matches!(code, "en" | "eng" | UNKNOWN);
            let ruled = self.rules.judge(&pair.passage, is_english, &mut buffer.document);
            judged.broken = ruled.broken;
            judged.passage = ruled.text;
            if let (None, Some(passage)) = (&judged.broken, &judged.passage) {
                let cleaned = Pair { passage: passage.clone(), ..pair.clone() };
                judged.broken =
                    self.broken_length(&pair.query, passage, buffer).or_else(|| self.broken_overlap(&cleaned, buffer));
            }
        }
        judged
    }

    fn broken_length(&self, query: &str, passage: &str, buffer: &mut Buffer) -> Option<Reason> {
        let recipe = &self.recipe;
        let query_chars = repeats::num_chars(query.as_bytes()) as u64;
        let passage_chars = repeats::num_chars(passage.as_bytes()) as u64;
        let outside = |range: Option<[u64; 2]>, few, many, count: &mut dyn FnMut() -> u64| {
            let [from, to] = range?;
            let count = count();
            if count < from { Some(few) } else { (count > to).then_some(many) }
        };
        let mut num_words = |text: &str| {
            let Scratch { other_words, suffixes, .. } = &mut buffer.document;
            words::split(text, recipe.words, other_words, suffixes);
            other_words.len() as u64
        };
        let ratio = query_chars.max(passage_chars) as f64 / query_chars.min(passage_chars) as f64;
        outside(recipe.query_chars, "query_short", "query_long", &mut || query_chars)
            .or_else(|| outside(recipe.passage_chars, "passage_short", "passage_long", &mut || passage_chars))
            .or_else(|| recipe.length_ratio_max.filter(|most| ratio > *most).map(|_| "length_ratio"))
            .or_else(|| outside(recipe.query_words, "query_few_words", "query_many_words", &mut || num_words(query)))
            .or_else(|| {
                outside(recipe.passage_words, "passage_few_words", "passage_many_words", &mut || num_words(passage))
            })
            .map(Reason::new)
    }

    /// `passage` is what was found of the passage's language.
    fn broken_language(&self, passage: Option<Detected<'_>>, query: &str, buffer: &mut Buffer) -> Option<Reason> {
        let recipe = &self.recipe;
        let is_broken = |found: Detected<'_>, languages: &Option<Vec<String>>, least: Option<f64>| {
            (languages.is_some() || least.is_some()) && found.asked <= least.unwrap_or(0.0)
        };
        if passage.is_some_and(|found| is_broken(found, &recipe.languages, recipe.language_min)) {
            return Some(Reason::new("passage_language"));
        }
        let languages = &recipe.query_languages;
        if languages.is_none() && recipe.query_language_min.is_none() {
            return None;
        }
        let found = self.detector.detect(query, languages.as_deref(), &mut buffer.language);
        is_broken(found, languages, recipe.query_language_min).then(|| Reason::new("query_language"))
    }

    fn broken_overlap(&self, pair: &Pair, buffer: &mut Buffer) -> Option<Reason> {
        if is_same(&pair.query, &pair.passage) {
            return Some(Reason::new("same_texts"));
        }
        let (anywhere, at_start) = (self.recipe.copy_max, self.recipe.copy_start_max);
        if anywhere.is_none() && at_start.is_none() {
            return None;
        }
        let shares = buffer.overlap.of(&pair.query, &pair.passage);
        if at_start.is_some_and(|most| shares.at_start > most) {
            Some(Reason::new("copied_at_start"))
        } else if anywhere.is_some_and(|most| shares.anywhere > most) {
            Some(Reason::new("copied"))
        } else {
            None
        }
    }
}

/// The words of a text and the number of its sentences, as the rules count them.
pub fn words_and_sentences(text: &str, recipe: &FiltersRecipe) -> (Vec<String>, usize) {
    let (mut words, mut scratch) = (Vec::new(), Vec::new());
    let num_sentences = words::num_sentences(text, recipe.words, &mut words, &mut scratch);
    words::split(text, recipe.words, &mut words, &mut scratch);
    (words.iter().map(|word| word.of(text).to_owned()).collect(), num_sentences)
}
