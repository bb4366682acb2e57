//! The filters: what of a list does not go through, and why.

use std::collections::HashMap;

use tercet_protocol::args::Filters;
use tercet_retrieval::{Answers, Hit, Ids, Index, Shingles};
use tercet_sampler::detect_language;

use super::candidates::Reason;
use super::rows::MinedRow;

/// Bytes of texts that are kept at most.
const MOST_BYTES: usize = 64 << 20;

/// Texts of passages that several rows may look at.
pub(super) struct Passages<'a> {
    pub index: &'a Index,
    texts: HashMap<u32, String>,
    /// The length of all texts that are kept.
    bytes: usize,
}

impl<'a> Passages<'a> {
    /// None yet.
    pub fn new(index: &'a Index) -> Self {
        Self { index, texts: HashMap::new(), bytes: 0 }
    }

    /// The text of `doc`, read once.
    pub fn text(&mut self, doc: u32) -> anyhow::Result<&str> {
        if !self.texts.contains_key(&doc) {
            let text = self.index.text(doc)?;
            if self.bytes + text.len() > MOST_BYTES {
                (self.texts, self.bytes) = (HashMap::new(), 0);
            }
            self.bytes += text.len();
            self.texts.insert(doc, text);
        }
        Ok(self.texts.get(&doc).map_or("", String::as_str))
    }
}

/// The filters, as they are for one row.
pub(super) struct Sieve<'a> {
    filters: &'a Filters,
    positives: Vec<Shingles>,
    answers: Answers,
    /// The lowest score of a positive, if it is known.
    lowest: Option<f32>,
    language: Option<&'static str>,
    /// Passages of each document that went through.
    documents: HashMap<Vec<u8>, usize>,
}

impl<'a> Sieve<'a> {
    /// A sieve for `row`, whose positives have these scores if they are needed.
    ///
    /// # Errors
    /// The reason: its answers are none.
    pub fn of(row: &MinedRow, scores: Option<&[f32]>, filters: &'a Filters) -> Result<Self, String> {
        let positives = match filters.near_duplicates {
            Some(_) => row.row.pos.iter().map(|text| Shingles::of(text)).collect(),
            None => Vec::new(),
        };
        let answers = if filters.answers { Answers::new(&row.answers()?) } else { Answers::default() };
        let language = match filters.same_language {
            true => row.row.pos.iter().find_map(|text| detect_language(text)),
            false => None,
        };
        let lowest = scores.and_then(|scores| scores.iter().copied().min_by(f32::total_cmp));
        Ok(Self { filters, positives, answers, lowest, language, documents: HashMap::new() })
    }

    /// Why `hit` does not go through, if it does not. Called in the order of ranks.
    pub fn judge(&mut self, hit: Hit, passages: &mut Passages) -> anyhow::Result<Option<Reason>> {
        let filters = self.filters;
        if let Some(most) = filters.near_duplicates {
            let own = Shingles::of(passages.text(hit.doc)?);
            if self.positives.iter().any(|positive| positive.jaccard(&own) >= most) {
                return Ok(Some(Reason::NearDuplicate));
            }
        }
        if !self.answers.is_empty() && self.answers.are_in(passages.text(hit.doc)?) {
            return Ok(Some(Reason::Answer));
        }
        if let Some(reason) = self.judge_score(f64::from(hit.score)) {
            return Ok(Some(reason));
        }
        if let Some(language) = self.language
            && detect_language(passages.text(hit.doc)?).is_some_and(|own| own != language)
        {
            return Ok(Some(Reason::Language));
        }
        if let Some(most) = filters.per_document {
            let id = passages.index.id(hit.doc);
            let document = id.split(|byte| *byte == b'#').next().unwrap_or_default();
            let so_far = self.documents.entry(document.to_vec()).or_default();
            if *so_far == most {
                return Ok(Some(Reason::Document));
            }
            *so_far += 1;
        }
        Ok(None)
    }

    fn judge_score(&self, score: f64) -> Option<Reason> {
        let filters = self.filters;
        let lowest = self.lowest.map(f64::from);
        let above = |limit: Option<f64>| limit.is_some_and(|limit| score > limit);
        // A share of a negative score is further down as well.
        let by_share = lowest.zip(filters.max_share).map(|(lowest, share)| lowest - (1.0 - share) * lowest.abs());
        let by_margin = lowest.zip(filters.margin).map(|(lowest, margin)| lowest - margin);
        if above(by_share) {
            Some(Reason::MaxShare)
        } else if above(by_margin) {
            Some(Reason::Margin)
        } else if above(filters.max_score) {
            Some(Reason::MaxScore)
        } else if filters.min_score.is_some_and(|limit| score < limit) {
            Some(Reason::MinScore)
        } else {
            None
        }
    }
}

/// Whether scores of positives are needed to filter.
pub(super) fn needs_positive_scores(filters: &Filters) -> bool {
    filters.max_share.is_some() || filters.margin.is_some()
}
