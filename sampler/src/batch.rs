//! From a step's number to one rank's share of it: rows are chosen and dealt by their lengths, and the token ids of the
//! rank's own are read, framed and cut.

use crate::deal::{Deal, deal, text_cost};
use crate::identity::{TextIds, text_id};
use crate::plan::{Choice, GlobalBatch, Plan, PlanError, Policy, Source, reorder_segments};
use crate::share::{Batch, Origin, RowId, Share};
use crate::{Shape, SpecialTokens, StoredRow, TextInput};

/// A global batch with everything decided, tokens not yet read.
#[derive(Debug, Clone, PartialEq)]
pub struct DealtBatch {
    /// The rows.
    pub global: GlobalBatch,
    /// Passages per query; 0 where rows are texts alone.
    pub group_size: usize,
    /// What is taken from each row.
    pub choices: Vec<Choice>,
    /// Which rank takes which row.
    pub deal: Deal,
}

/// One rank's share of a batch as lengths: tokens of its texts as they will be encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShareLens {
    /// Each query's length. `[Q]`
    pub queries: Vec<usize>,
    /// Each passage's length. `[Q·G]`
    pub passages: Vec<usize>,
    /// Positives of all its rows, the ones that were not chosen included.
    pub num_positives: usize,
}

impl DealtBatch {
    /// The lengths of rank `rank`'s texts. Reads no row.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn share_lens(&self, plan: &Plan, rank: usize) -> Result<ShareLens, PlanError> {
        let lens = TextLens::of(plan, &plan.source(&plan.cells()[self.global.cell]).policy);
        let mut share = ShareLens::default();
        for &i in &self.deal.rows[rank] {
            let (dataset, position) = self.global.positions[i];
            let shape = plan.store().shape(dataset, position)?;
            share.queries.push(lens.query(shape));
            share.passages.extend(lens.passages(shape, &self.choices[i]));
            share.num_positives += shape.pos.len();
        }
        Ok(share)
    }
}

/// Decides step `step` for all ranks. Reads lengths only; the result is the same on every rank.
///
/// # Errors
/// If the store cannot be read, or a row lacks what its group needs: then on every rank, in the same step.
pub fn deal_batch(plan: &Plan, step: u64, world_size: usize) -> Result<DealtBatch, PlanError> {
    deal_global(plan, plan.global_batch(step), world_size)
}

/// As [`deal_batch`], for a global batch in hand.
///
/// # Errors
/// As [`deal_batch`].
pub fn deal_global(plan: &Plan, global: GlobalBatch, world_size: usize) -> Result<DealtBatch, PlanError> {
    let policy = &plan.source(&plan.cells()[global.cell]).policy;
    let shapes: Vec<Shape<'_>> = (global.positions.iter())
        .map(|&(dataset, position)| plan.store().shape(dataset, position))
        .collect::<Result<_, _>>()?;
    let first_num_neg = shapes.first().map_or(0, |first| first.neg.len());
    let group_size = policy.group_size.for_batch(first_num_neg);
    let choices: Vec<Choice> = (global.positions.iter().zip(&shapes))
        .map(|(&position, &shape)| plan.choose(global.epoch, position, shape, group_size))
        .collect::<Result<_, _>>()?;
    let lens = TextLens::of(plan, policy);
    let costs: Vec<u64> = shapes.iter().zip(&choices).map(|(&shape, choice)| lens.row_cost(shape, choice)).collect();
    let deal = deal(&costs, world_size);
    Ok(DealtBatch { global, group_size, choices, deal })
}

/// What rank `rank` of `world_size` trains on in step `step`. Reads the tokens of its own rows only.
///
/// # Errors
/// As [`deal_batch`].
pub fn read_share(plan: &Plan, step: u64, rank: usize, world_size: usize) -> Result<Batch, PlanError> {
    read_dealt(plan, step, deal_batch(plan, step, world_size)?, rank)
}

/// As [`read_share`], for a batch in hand.
///
/// # Errors
/// If the store cannot be read.
pub fn read_dealt(plan: &Plan, step: u64, dealt: DealtBatch, rank: usize) -> Result<Batch, PlanError> {
    let DealtBatch { global, group_size, choices, deal } = dealt;
    let (store, cell) = (plan.store(), &plan.cells()[global.cell]);
    let Source { policy, name, has_scores, .. } = plan.source(cell);
    let rows = &deal.rows[rank];
    let (query_prefix, passage_prefix) = (&policy.query_prefix, &policy.passage_prefix);
    let query = |content: &[u32]| match group_size {
        // Nobody looks at the lexical vocabulary of a text alone.
        0 => TextInput::of_tokens(store.special().framed(query_prefix, content, plan.query_max_len())),
        _ => TextInput::framed(store.special(), query_prefix, content, plan.query_max_len()),
    };
    let passage = |content: &[u32]| TextInput::framed(store.special(), passage_prefix, content, plan.passage_max_len());
    let mut row_ids = Vec::with_capacity(rows.len());
    let mut texts = Vec::with_capacity(rows.len() * (1 + group_size));
    let mut passages = Vec::with_capacity(rows.len() * group_size);
    let mut text_ids = TextIds::default();
    let mut row_keys = Vec::with_capacity(rows.len());
    let mut scores = Vec::with_capacity(rows.len() * group_size);
    for &i in rows {
        let (dataset, position) = global.positions[i];
        let (number, row) = store.read(dataset, position)?;
        row_ids.push(RowId { dataset, row: number });
        row_keys.push(plan.row_key(step, dataset, number));
        let Choice { positive, negatives, segment_order } = &choices[i];
        identify(&row, &choices[i], &mut text_ids);
        texts.push(query(row.query()));
        if let Some(positive) = *positive {
            passages.push(match *segment_order {
                Some(order) => passage(&reorder_segments(row.pos(positive), order)),
                None => passage(row.pos(positive)),
            });
            scores.extend(row.pos_score(positive));
        }
        for &negative in negatives {
            passages.push(passage(row.neg(negative)));
            scores.extend(row.neg_score(negative));
        }
    }
    texts.append(&mut passages);
    let share = Share {
        step,
        texts,
        text_ids,
        row_keys,
        num_queries: rows.len(),
        group_size,
        num_global_queries: global.positions.len(),
        // The source decides, not this rank's rows: ranks must agree on whether there is a teacher.
        teacher_scores: has_scores.then_some(scores),
        negatives: policy.negatives,
        two_way: policy.two_way,
    };
    let (dataset, length_group) = (name.clone(), cell.length_group);
    let origin = Origin { epoch: global.epoch, dataset, length_group, row_ids, imbalance: deal.imbalance };
    Ok(Batch { origin, share })
}

/// Appends the identities of a row's texts.
fn identify(row: &StoredRow, choice: &Choice, ids: &mut TextIds) {
    let positives: Vec<u64> = (0..row.num_pos()).map(|i| text_id(row.pos(i))).collect();
    ids.queries.push(text_id(row.query()));
    ids.passages.extend(choice.positive.map(|i| positives[i]));
    ids.passages.extend(choice.negatives.iter().map(|&i| text_id(row.neg(i))));
    ids.positives.push(positives);
}

/// How long texts are once they are framed.
struct TextLens {
    /// Tokens beside the content, and tokens at most.
    query: (usize, usize),
    passage: (usize, usize),
}

impl TextLens {
    fn of(plan: &Plan, policy: &Policy) -> Self {
        let added = |prefix: &[u32]| prefix.len() + SpecialTokens::NUM_FRAMING;
        Self {
            query: (added(&policy.query_prefix), plan.query_max_len()),
            passage: (added(&policy.passage_prefix), plan.passage_max_len()),
        }
    }

    fn query(&self, shape: Shape<'_>) -> usize {
        let (added, max_len) = self.query;
        (usize::from(shape.query) + added).min(max_len)
    }

    /// The chosen passages', the positive's first.
    fn passages<'a>(&self, shape: Shape<'a>, choice: &'a Choice) -> impl Iterator<Item = usize> + use<'a> {
        let (added, max_len) = self.passage;
        let negatives = choice.negatives.iter().map(move |&i| shape.neg[i]);
        let positive = choice.positive.map(|i| shape.pos[i]);
        (positive.into_iter().chain(negatives)).map(move |content| (usize::from(content) + added).min(max_len))
    }

    /// The estimated cost of a row's texts as they will be encoded, cut to length.
    fn row_cost(&self, shape: Shape<'_>, choice: &Choice) -> u64 {
        text_cost(self.query(shape)) + self.passages(shape, choice).map(text_cost).sum::<u64>()
    }
}
