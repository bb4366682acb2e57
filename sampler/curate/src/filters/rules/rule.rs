//! A rule: its name, what it computes, and its bound.

use std::fmt;

use crate::filters::document::Document;
use crate::filters::words::Splitting;
use crate::reason::Reason;

/// A bound of what a rule computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Not less.
    Min(f64),
    /// Not more.
    Max(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min(bound) => write!(f, "≥ {bound}"),
            Self::Max(bound) => write!(f, "≤ {bound}"),
        }
    }
}

/// Which documents a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// All.
    All,
    /// English ones.
    English,
    /// Those whose words are mostly separated by spaces.
    Spaced,
}

/// What a rule computes.
type Measure = Box<dyn Fn(&mut Document<'_>) -> f64 + Send + Sync>;

/// A rule.
pub struct Rule {
    /// The reason for a passage that breaks it.
    pub reason: Reason,
    /// What it computes.
    pub computes: &'static str,
    /// What that may be.
    pub bound: Bound,
    /// Whom it is for.
    pub documents: For,
    measure: Measure,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.reason, self.computes, self.bound)
    }
}

impl Rule {
    /// A rule for all documents.
    pub(super) fn new(
        name: impl Into<String>,
        computes: &'static str,
        bound: Bound,
        measure: impl Fn(&mut Document<'_>) -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { reason: Reason::of(name.into()), computes, bound, documents: For::All, measure: Box::new(measure) }
    }

    pub(super) fn only(self, documents: For) -> Self {
        Self { documents, ..self }
    }

    /// Whether a document breaks it. What cannot be computed, as a share of no words, breaks nothing.
    pub(super) fn is_broken(&self, document: &mut Document<'_>, is_english: bool) -> bool {
        let is_for = document.splitting == Splitting::English
            || match self.documents {
                For::All => true,
                For::English => is_english,
                For::Spaced => {
                    let counts = document.word_counts();
                    2 * counts.unspaced < counts.all
                }
            };
        is_for
            && match self.bound {
                Bound::Min(bound) => (self.measure)(document) < bound,
                Bound::Max(bound) => (self.measure)(document) > bound,
            }
    }
}
