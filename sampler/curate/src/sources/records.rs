//! Which columns of a record are the texts, the language and the scores of pairs.

use std::cmp::Ordering;

use serde_json::{Map, Value};
use tercet_sampler::ReadAt;

use super::offers::Offers;
use super::source::{Language, Source};
use crate::input::{Field, Refusal, columns_of, value_of};
use crate::pair::Pair;
use crate::reason::Reason;

/// The columns that a source asks for.
pub(super) struct Columns {
    query: Field,
    passage: Field,
    language: Option<String>,
    /// The places of scores, in the order of their names, and the least that each may be.
    min: Vec<(String, f64)>,
    /// All names that are looked up.
    wanted: Vec<String>,
}

impl Columns {
    /// The columns of `source`, with these of query and passage if it names none.
    pub(super) fn of(source: &Source, query: &str, passage: &str) -> Self {
        let field = |named: &Option<String>, usual: &str| {
            let Ok(field) = named.as_deref().unwrap_or(usual).parse::<Field>();
            field
        };
        let passage = field(&source.passage, passage);
        let query = if source.kind.is_of_one_text() { passage.clone() } else { field(&source.query, query) };
        let language = match &source.language {
            Some(Language::Column { column }) => Some(column.clone()),
            _ => None,
        };
        let min: Vec<(String, f64)> = source.min.iter().map(|(name, min)| (name.clone(), *min)).collect();
        let values = language.iter().chain(min.iter().map(|(name, _)| name)).flat_map(|name| columns_of(name));
        let mut wanted: Vec<String> =
            query.columns().chain(passage.columns()).chain(values).map(str::to_owned).collect();
        wanted.sort();
        wanted.dedup();
        Self { query, passage, language, min, wanted }
    }

    /// All names that are looked up. A name with a point may be a column's, or a path's.
    pub(super) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Offers the pairs of a record: one for each text of the passage. `whole` gives the record with what was not
    /// wanted, for messages about what it lacks.
    pub(super) fn offer(
        &self,
        at: &ReadAt,
        record: &Map<String, Value>,
        whole: impl FnOnce() -> Option<Map<String, Value>>,
        offers: &mut Offers<'_>,
    ) -> Result<(), Refusal> {
        let (pair, passages, scores) = match self.texts(record, offers) {
            Ok(found) => found,
            Err(reason) => {
                let reason = whole().and_then(|record| self.texts(&record, offers).err()).unwrap_or(reason);
                return match self.are_in(record) {
                    true => offers.unreadable(at, reason),
                    false => offers.no_column(at, reason),
                };
            }
        };
        // What is not a number is below every number.
        let is_low = |score: &f64, min: &f64| score.partial_cmp(min).is_none_or(Ordering::is_lt);
        let low = self.min.iter().zip(&scores).find(|((_, min), score)| is_low(score, min));
        if let Some(((name, _), _)) = low {
            return offers.drop(at, Reason::about("score", name), &pair.query);
        }
        if offers.kind.is_of_one_text() {
            return offers.first_sentence(at, &passages.concat(), pair);
        }
        match passages.len() {
            0 => offers.pairs(at, [pair]),
            _ => offers.pairs(at, passages.into_iter().map(|passage| Pair { passage, ..pair.clone() })),
        }
    }

    /// Whether a record has all that are asked for.
    fn are_in(&self, record: &Map<String, Value>) -> bool {
        let mut others = self.language.iter().chain(self.min.iter().map(|(name, _)| name));
        self.query.is_in(record)
            && self.passage.is_in(record)
            && others.all(|name| matches!(value_of(name, record), Ok(Some(_))))
    }

    /// A pair without its passage, its passages, and its scores in the order of [`min`](Self::min).
    fn texts(&self, record: &Map<String, Value>, offers: &Offers<'_>) -> Result<(Pair, Vec<String>, Vec<f64>), String> {
        let query = match offers.kind.is_of_one_text() {
            true => String::new(),
            false => self.query.text(record)?,
        };
        let mut passages = self.passage.texts(record)?;
        if offers.kind.is_of_one_text() && passages.len() > 1 {
            passages = vec![passages.join("\n")];
        }
        let language = match &self.language {
            Some(column) => language(column, record)?,
            None => offers.language.clone(),
        };
        let scores = self.min.iter().map(|(name, _)| score(name, record)).collect::<Result<_, _>>()?;
        Ok((Pair { query, passage: String::new(), language }, passages, scores))
    }
}

fn language(column: &str, record: &Map<String, Value>) -> Result<Option<String>, String> {
    match value_of(column, record)? {
        Some(Value::String(language)) => Ok(Some(language.trim().to_owned()).filter(|language| !language.is_empty())),
        Some(Value::Null) => Ok(None),
        Some(other) => Err(format!("{column:?} is {other}: a language is expected")),
        None => Err(format!("no {column:?}, which should name the language")),
    }
}

fn score(name: &str, record: &Map<String, Value>) -> Result<f64, String> {
    let found = value_of(name, record)?.ok_or_else(|| format!("no {name:?}, which should be a number"))?;
    let number = match found {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        // A score that is missing reaches nothing.
        Value::Null => Some(f64::NAN),
        _ => None,
    };
    number.ok_or_else(|| format!("{name:?} is {found}: a number is expected"))
}
