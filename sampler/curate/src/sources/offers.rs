//! What records and documents give, on its way to who reads a source.

use tercet_sampler::ReadAt;

use super::document::Document;
use super::kind::Kind;
use super::sentences;
use crate::input::Refusal;
use crate::pair::Pair;
use crate::reason::Reason;

/// The record is not what the source says.
pub(super) const UNREADABLE: Reason = Reason::new("unreadable");
/// The record has not the columns that the source asks for.
pub(super) const NO_COLUMN: Reason = Reason::new("no_column");
/// There is no text to search with: no title, no question.
const NO_QUERY: Reason = Reason::new("no_query");
/// There is no text to be found: an empty body, a missing answer.
const NO_PASSAGE: Reason = Reason::new("no_passage");
/// Its record gave as many pairs as it may.
const MAX_PAIRS: Reason = Reason::new("max_pairs");
/// There is no heading with a text below it.
const NO_HEADING: Reason = Reason::new("no_heading");
/// There is no second sentence.
const ONE_SENTENCE: Reason = Reason::new("one_sentence");

/// Bytes of a text that is dropped which are passed on to be looked at.
const SHOWN_BYTES: usize = 1000;

/// What a record of a file gives.
#[derive(Debug)]
pub enum Offered {
    /// A pair.
    Pair(Pair),
    /// None, for this reason, and the text to show.
    Dropped(Reason, String),
}

/// Calls a visitor with what a file of a source gives.
pub(super) struct Offers<'a> {
    pub(super) visit: &'a mut dyn FnMut(&ReadAt, Offered) -> Result<(), Refusal>,
    pub(super) kind: Kind,
    /// The language that the source states.
    pub(super) language: Option<String>,
    /// Pairs that a record gives at most.
    pub(super) max_pairs: usize,
    /// Whether what is not as the source says is dropped.
    pub(super) skips: bool,
}

impl Offers<'_> {
    /// A record that gives nothing.
    pub(super) fn drop(&mut self, at: &ReadAt, reason: Reason, text: &str) -> Result<(), Refusal> {
        let end = (0..=SHOWN_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        (self.visit)(at, Offered::Dropped(reason, text[..end].trim().to_owned()))
    }

    /// A record that is not what the source says, for `reason`.
    pub(super) fn unreadable(&mut self, at: &ReadAt, reason: String) -> Result<(), Refusal> {
        self.unfit(at, UNREADABLE, reason)
    }

    /// A record without a column that the source asks for, which `reason` names.
    pub(super) fn no_column(&mut self, at: &ReadAt, reason: String) -> Result<(), Refusal> {
        self.unfit(at, NO_COLUMN, reason)
    }

    fn unfit(&mut self, at: &ReadAt, what: Reason, reason: String) -> Result<(), Refusal> {
        match self.skips {
            true => self.drop(at, what, &reason),
            false => Err(at.error(reason).into()),
        }
    }

    /// A record's pairs, or one pair, or the reason that there is none.
    pub(super) fn pairs(&mut self, at: &ReadAt, pairs: impl IntoIterator<Item = Pair>) -> Result<(), Refusal> {
        let mut given = 0;
        for mut pair in pairs {
            trim(&mut pair.query);
            trim(&mut pair.passage);
            if pair.query.is_empty() {
                self.drop(at, NO_QUERY, &pair.passage)?;
            } else if pair.passage.is_empty() {
                self.drop(at, NO_PASSAGE, &pair.query)?;
            } else if given == self.max_pairs {
                self.drop(at, MAX_PAIRS, &pair.query)?;
            } else {
                given += 1;
                (self.visit)(at, Offered::Pair(pair))?;
            }
        }
        Ok(())
    }

    /// The pair of a text's first sentence and the rest, with the language of `pair`.
    pub(super) fn first_sentence(&mut self, at: &ReadAt, text: &str, pair: Pair) -> Result<(), Refusal> {
        if text.trim().is_empty() {
            return self.drop(at, NO_PASSAGE, "");
        }
        match sentences::split_first(text) {
            Some((first, rest)) => self.pairs(at, [Pair { query: first.to_owned(), passage: rest.to_owned(), ..pair }]),
            None => self.drop(at, ONE_SENTENCE, text),
        }
    }

    /// The pairs of a document, as the source's kind makes them.
    pub(super) fn document(&mut self, at: &ReadAt, document: Document) -> Result<(), Refusal> {
        let language = self.language.clone().or_else(|| document.language.clone());
        let of = |query: String, passage: String| Pair { query, passage, language: language.clone() };
        match self.kind {
            Kind::FirstSentenceRest => {
                let body = document.body();
                self.first_sentence(at, &body, of(String::new(), String::new()))
            }
            Kind::HeadingSection => {
                let title = document.title;
                let has_text = |text: &str| !text.trim().is_empty();
                let headed = document.sections.into_iter().filter(|s| has_text(&s.heading) && has_text(&s.text));
                let mut pairs =
                    headed.map(|section| of(format!("{title} {}", section.heading), section.text)).peekable();
                match pairs.peek() {
                    Some(_) => self.pairs(at, pairs),
                    None => self.drop(at, NO_HEADING, &title),
                }
            }
            _ => {
                let body = document.body();
                self.pairs(at, [of(document.title, body)])
            }
        }
    }
}

/// Cuts blanks off both ends.
fn trim(text: &mut String) {
    text.truncate(text.trim_end().len());
    let blanks = text.len() - text.trim_start().len();
    if blanks > 0 {
        text.drain(..blanks);
    }
}
