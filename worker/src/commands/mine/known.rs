//! Which passages are known to answer a row's query.
//!
//! As in training (docs/know/loss.md, "False negatives"): texts are the same if their tokens are, and what answers a
//! query is every positive of every row whose query has the same tokens. What is kept of texts is hashes.

use std::collections::HashMap;
use std::path::PathBuf;

use tercet_cluster::Collective;
use tercet_retrieval::Index;
use tercet_sampler::{Row, text_id};

use super::rows::{MinedRow, for_each_batch};
use crate::files::CommandError;
use crate::files::unread::Unread;
use crate::retrieval::texts::TextEncoder;

/// Rows whose texts are hashed at a time.
const BATCH: usize = 4096;

/// What all rows know together.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By the query's identity: those of its answers and of itself, ascending.
    answers: HashMap<u64, Vec<u64>>,
    /// Where the passages of an index are that have one of those identities.
    places: HashMap<u64, Vec<u32>>,
    /// How often each identity is a positive's.
    positives: HashMap<u64, u64>,
    /// Rows.
    pub num_rows: u64,
    /// Rows that say what answers them.
    pub num_answered: u64,
    /// Rows of a symmetric type, whose passages take the query's prefix.
    pub num_symmetric: u64,
    /// Rows that have scores of negatives already.
    pub num_scored: u64,
    /// Passages of the index without a token.
    pub num_tokenless: u64,
    unread: Unread,
}

/// The identities of a row's texts.
#[derive(Debug)]
pub(super) struct RowIds {
    /// The query, with its prompt and alone.
    pub queries: [Option<u64>; 2],
    /// The positives.
    pub positives: Vec<u64>,
}

impl Known {
    /// Reads the rows. Every rank calls it.
    ///
    /// # Errors
    /// A file or a row that cannot be used: among them a query or positive of which the tokenizer leaves no token.
    pub fn of_rows(paths: &[PathBuf], encoder: &TextEncoder, ranks: &dyn Collective) -> anyhow::Result<Self> {
        let mut known = Self::default();
        for_each_batch(paths, BATCH, |_, _, rows| {
            for (row, ids) in rows.iter().zip(identities(rows, encoder, ranks)?) {
                let missing = ids.iter().position(Option::is_none).filter(|place| *place != 1);
                if let Some(place) = missing {
                    let (field, text) = match place {
                        0 => ("query".to_owned(), &row.query),
                        _ => (format!("pos[{}]", place - 2), &row.row.pos[place - 2]),
                    };
                    let reason = format!("{field:?} has no token, so it has no representation: {text:?}");
                    return Err(CommandError::from(row.at.error(reason)).into());
                }
                known.num_answered += u64::from(row.has_answers());
                known.add(&row.row, &RowIds::of(&ids));
            }
            Ok(())
        })?;
        for answers in known.answers.values_mut() {
            answers.sort_unstable();
            answers.dedup();
            answers.shrink_to_fit();
        }
        Ok(known)
    }

    fn add(&mut self, row: &Row, ids: &RowIds) {
        let Some(query) = ids.queries[0] else { return };
        self.answers.entry(query).or_default().extend(ids.all());
        ids.positives.iter().for_each(|id| *self.positives.entry(*id).or_default() += 1);
        self.num_rows += 1;
        self.num_symmetric += u64::from(row.is_symmetric());
        self.num_scored += u64::from(row.neg_scores.as_ref().is_some_and(|scores| !scores.is_empty()));
        self.unread.add(row);
    }

    /// Finds what is known among the passages of `index`.
    pub fn find(&mut self, index: &Index) {
        let nothing = text_id(&[]);
        let wanted: std::collections::HashSet<u64> = self.answers.values().flatten().copied().collect();
        for (number, block) in index.blocks().iter().enumerate() {
            for i in 0..block.num_passages() {
                let [whole, untitled] = block.identities(i);
                self.num_tokenless += u64::from(whole == nothing);
                let doc = index.first_doc(number) + i as u32;
                for id in [Some(whole), Some(untitled).filter(|id| *id != whole)].into_iter().flatten() {
                    if wanted.contains(&id) {
                        self.places.entry(id).or_default().push(doc);
                    }
                }
            }
        }
    }

    /// The identities of what is no negative of a query.
    pub fn answers(&self, query: Option<u64>) -> &[u64] {
        query.and_then(|query| self.answers.get(&query)).map_or(&[], Vec::as_slice)
    }

    /// The passages that are no negatives of a query, ascending.
    pub fn docs(&self, query: Option<u64>) -> Vec<u32> {
        let of = |id| self.places.get(id).into_iter().flatten().copied();
        let mut docs: Vec<u32> = self.answers(query).iter().flat_map(of).collect();
        docs.sort_unstable();
        docs.dedup();
        docs
    }

    /// Reports what is odd about the rows, and how many positives are no passage of the index. One may stand there in
    /// slightly other words, and be drawn.
    pub fn tell(&self, passages: &str) {
        self.unread.tell("the rows");
        let all: u64 = self.positives.values().sum();
        let strangers: u64 =
            self.positives.iter().filter(|(id, _)| !self.places.contains_key(id)).map(|(_, count)| count).sum();
        if strangers > 0 {
            tracing::warn!(
                "{strangers} of {all} positives are no passage of {passages}: one that stands there in other words may be \
                 drawn as its own negative; --near-duplicates finds it"
            );
        }
        if self.num_tokenless > 0 {
            tracing::warn!("{} passages have no token; they are drawn for no row", self.num_tokenless);
        }
    }
}

impl RowIds {
    /// Identities of the query with its prompt, the query alone, and the positives.
    pub fn of(ids: &[Option<u64>]) -> Self {
        Self { queries: [ids[0], ids[1]], positives: ids[2..].iter().flatten().copied().collect() }
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        self.queries.iter().flatten().chain(&self.positives).copied()
    }
}

/// The identities of each row's texts: the query with its prompt, the query alone, the positives. Every rank calls it
/// with the same rows.
///
/// # Errors
/// As [`TextEncoder::identities`].
pub(super) fn identities(
    rows: &[MinedRow],
    encoder: &TextEncoder,
    ranks: &dyn Collective,
) -> anyhow::Result<Vec<Vec<Option<u64>>>> {
    let (mut texts, mut places) = (Vec::new(), HashMap::new());
    for text in rows.iter().flat_map(texts_of) {
        places.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len() - 1
        });
    }
    let ids = encoder.identities(&texts, ranks)?;
    Ok(rows.iter().map(|row| texts_of(row).map(|text| ids[places[text]]).collect()).collect())
}

fn texts_of(row: &MinedRow) -> impl Iterator<Item = &str> {
    row.queries().into_iter().chain(row.row.pos.iter().map(String::as_str))
}
