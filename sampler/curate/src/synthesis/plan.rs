//! Which documents are asked about for which split, and where each stands.
//!
//! The documents of a language, by hash, are dealt to test, dev and train once and for all: a document is never in two
//! of them, in whatever state a run was stopped. A split takes the first documents of its own whose questions pass, as
//! many as are wanted. Those whose questions do not are replaced by the next, so what is asked follows from the answers
//! alone, and so does what is written.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::checks;
use super::documents::{Chosen, Document, Language, ready};
use super::journal::{Answered, Known, Ledger};
use super::recipe::Recipe;
use super::request::{Request, Requests};
use crate::error::CurateError;
use crate::reason::Reason;

/// What questions are for, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// A query of `qrels/test.tsv`.
    Test,
    /// A query of `qrels/dev.tsv`.
    Dev,
    /// A training row.
    Train,
}

/// All of them.
pub const SPLITS: [Split; 3] = [Split::Test, Split::Dev, Split::Train];

impl Split {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Dev => "dev",
            Self::Train => "train",
        }
    }
}

/// An answer that was refused, or that a server refused to give.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The answer, or the server's words.
    pub text: String,
}

/// Where a document stands.
#[derive(Debug, Clone, Default)]
struct Standing {
    /// What did not pass, by attempt.
    refused: Vec<Refused>,
    /// What did.
    question: Option<String>,
}

/// A question that is wanted: about the document of a language, in an attempt from 0.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The language's number.
    pub language: usize,
    /// The document.
    pub document: Document,
    /// The attempt.
    pub attempt: u32,
}

/// A language as it stands.
#[derive(Debug)]
pub struct Stand<'a> {
    /// The language.
    pub language: &'a Language,
    /// Questions that passed, by split and in the order of documents.
    pub questions: Vec<(Split, Document, String)>,
    /// Answers that did not.
    pub refused: Vec<(Document, Refused)>,
    /// Documents asked about, or to be asked about.
    pub asked: u64,
    /// Those of them whose answer is still to come.
    pub open: u64,
    /// Questions that lack, by split, for which there is a document or none.
    pub lacking: [u64; 3],
}

impl Stand<'_> {
    /// The documents that dev's and test's questions are about and, up to the number asked for, those that no question
    /// is about; by hash, so that their places tell nothing.
    pub fn corpus(&self, recipe: &Recipe) -> Vec<&Document> {
        let hashes = |is_of: fn(Split) -> bool| -> HashSet<u128> {
            let of = self.questions.iter().filter(|(split, ..)| is_of(*split));
            of.map(|(_, document, _)| document.hash).collect()
        };
        let (judged, trained) = (hashes(|split| split != Split::Train), hashes(|split| split == Split::Train));
        let mut others = recipe.questions.corpus.number(&self.language.name).saturating_sub(judged.len());
        let belongs = |document: &&Document| {
            if judged.contains(&document.hash) {
                return true;
            }
            let is_other = others > 0 && !trained.contains(&document.hash);
            others -= usize::from(is_other);
            is_other
        };
        self.language.documents.iter().filter(belongs).collect()
    }
}

/// The plan, and what is known so far.
pub struct Plan<'a> {
    recipe: &'a Recipe,
    chosen: &'a Chosen,
    requests: &'a Requests<'a>,
    /// By language and hash: what no further answer changes.
    known: HashMap<(usize, u128), Standing>,
}

impl<'a> Plan<'a> {
    /// A plan for these documents.
    pub fn new(recipe: &'a Recipe, chosen: &'a Chosen, requests: &'a Requests<'a>) -> Self {
        Self { recipe, chosen, requests, known: HashMap::new() }
    }

    /// The request for a question.
    ///
    /// # Errors
    /// The operating system's.
    pub fn request(&self, wanted: &Wanted) -> Result<Request, CurateError> {
        let request = self.requests.of(&self.chosen.languages[wanted.language], &wanted.document, wanted.attempt)?;
        // What has no paragraph is not wanted.
        request.ok_or_else(|| CurateError::Usage(format!("document {}: no paragraph", wanted.document.id())))
    }

    /// Whether a question's answer passes the checks; that it repeats another is seen when all are there.
    pub fn passes(&self, wanted: &Wanted, request: &Request, answer: &Answered) -> bool {
        let language = &self.chosen.languages[wanted.language].name;
        checks::question(answer, &request.paragraph, language, &self.recipe.checks).is_ok()
    }

    /// How all languages stand by what the ledger knows, and which questions are wanted next.
    ///
    /// # Errors
    /// The operating system's.
    pub fn stand(&mut self, ledger: &Ledger) -> Result<(Vec<Stand<'a>>, Vec<Wanted>), CurateError> {
        let (mut stands, mut wanted) = (Vec::new(), Vec::new());
        for number in 0..self.chosen.languages.len() {
            let (stand, next) = self.stand_of(number, ledger)?;
            stands.push(stand);
            wanted.extend(next);
        }
        Ok((stands, wanted))
    }

    fn stand_of(&mut self, number: usize, ledger: &Ledger) -> Result<(Stand<'a>, Vec<Wanted>), CurateError> {
        let language = &self.chosen.languages[number];
        let mut stand =
            Stand { language, questions: Vec::new(), refused: Vec::new(), asked: 0, open: 0, lacking: [0; 3] };
        let (mut wanted, mut seen) = (Vec::new(), HashSet::new());
        for (split, documents) in self.dealt(language) {
            let quota = self.quota(language, split);
            let (mut good, mut open) = (0, 0);
            for document in &language.documents[documents] {
                if good + open == quota {
                    break;
                }
                let (standing, next) = self.look(number, document, ledger)?;
                stand.asked += 1;
                stand.refused.extend(standing.refused.iter().map(|refused| (*document, refused.clone())));
                if let Some(attempt) = next {
                    open += 1;
                    stand.open += 1;
                    wanted.push(Wanted { language: number, document: *document, attempt });
                } else if let Some(question) = standing.question {
                    // The same question twice has two answers, of which one would count as wrong.
                    match seen.insert(question.to_lowercase()) {
                        true => {
                            good += 1;
                            stand.questions.push((split, *document, question));
                        }
                        false => {
                            let reason = Reason::new("repeated");
                            stand.refused.push((*document, Refused { reason, text: question }));
                        }
                    }
                }
            }
            stand.lacking[split as usize] = (quota - good) as u64;
        }
        Ok((stand, wanted))
    }

    fn quota(&self, language: &Language, split: Split) -> usize {
        let of = &self.recipe.questions;
        match split {
            Split::Test => of.test.number(&language.name),
            Split::Dev => of.dev.number(&language.name),
            Split::Train => of.train.number(&language.name),
        }
    }

    /// The documents of each split, by their places in the language's list.
    fn dealt(&self, language: &Language) -> [(Split, Range<usize>); 3] {
        let mut end = 0;
        SPLITS.map(|split| {
            let begin = end;
            end = (begin + ready(self.quota(language, split))).min(language.documents.len());
            (split, begin..end)
        })
    }

    /// Where a document stands, and the attempt that comes next, if one does.
    fn look(
        &mut self,
        number: usize,
        document: &Document,
        ledger: &Ledger,
    ) -> Result<(Standing, Option<u32>), CurateError> {
        if let Some(standing) = self.known.get(&(number, document.hash)) {
            return Ok((standing.clone(), None));
        }
        let (language, mut standing) = (&self.chosen.languages[number], Standing::default());
        for attempt in 0..self.recipe.checks.attempts {
            let Some(request) = self.requests.of(language, document, attempt)? else {
                let reason = Reason::new("no_paragraph");
                standing.refused.push(Refused { reason, text: String::new() });
                break;
            };
            let refused = match ledger.known(&request.key) {
                None => return Ok((standing, Some(attempt))),
                Some(Known::Refused(reason)) => {
                    Refused { reason: Reason::new("refused_by_server"), text: reason.clone() }
                }
                Some(Known::Answered(answer)) => {
                    let (paragraph, checks) = (&request.paragraph, &self.recipe.checks);
                    match checks::question(answer, paragraph, &language.name, checks) {
                        Ok(question) => {
                            standing.question = Some(question);
                            break;
                        }
                        Err(reason) => Refused { reason, text: answer.text.clone() },
                    }
                }
            };
            standing.refused.push(refused);
        }
        self.known.insert((number, document.hash), standing.clone());
        Ok((standing, None))
    }

    /// The requests there can be at most, if no answer passes.
    pub fn most_requests(&self) -> u64 {
        let documents =
            |language: &Language| self.dealt(language).map(|(_, documents)| documents.len() as u64).iter().sum::<u64>();
        let documents: u64 = self.chosen.languages.iter().map(documents).sum();
        documents * u64::from(self.recipe.checks.attempts)
    }
}
