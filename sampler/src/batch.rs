//! One rank's share of a step: its rows' token ids, framed and cut, ready to be padded into tensors.

use tercet_configs::Negatives;

use crate::deal::{Deal, deal, text_cost};
use crate::identity::{TextIds, text_id};
use crate::plan::{Choice, GlobalBatch, Plan, PlanError, reorder_segments};
use crate::{RowLengths, SpecialTokens, StoredRow};

/// What one rank trains on in one step. Q: this rank's queries, G: group size.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The optimizer step, from 0.
    pub step: u64,
    /// Passes over the data before this one.
    pub epoch: u64,
    /// The data set's name.
    pub dataset: String,
    /// The length group's index in the recipe.
    pub length_group: usize,
    /// Queries on all ranks together.
    pub num_global_queries: usize,
    /// Passages per query.
    pub group_size: usize,
    /// Row numbers in the data set. `[Q]`
    pub row_ids: Vec<u64>,
    /// Token ids of each query, special tokens included. `[Q, ragged]`
    pub queries: Vec<Vec<i64>>,
    /// Token ids of each passage; query i's positive is at i·G, its negatives follow. `[Q·G, ragged]`
    pub passages: Vec<Vec<i64>>,
    /// Which of all these texts are the same.
    pub text_ids: TextIds,
    /// Teacher scores of the passages, if the data set has them. `[Q·G]`
    pub teacher_scores: Option<Vec<f32>>,
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Also contrast each positive with all queries.
    pub two_way: bool,
    /// The most loaded rank's estimated cost over the mean; 1 is perfect.
    pub imbalance: f64,
}

/// A global batch with everything decided, tokens not yet read.
#[derive(Debug, Clone, PartialEq)]
pub struct DealtBatch {
    /// The rows.
    pub global: GlobalBatch,
    /// Passages per query.
    pub group_size: usize,
    /// What is taken from each row.
    pub choices: Vec<Choice>,
    /// Which rank takes which row.
    pub deal: Deal,
}

/// Decides step `step` for all ranks. Reads lengths only; the result is the same on every rank.
///
/// # Errors
/// If the store cannot be read, or a row lacks what its group needs: then on every rank, in the same step.
pub fn deal_batch(plan: &Plan, step: u64, world_size: usize) -> Result<DealtBatch, PlanError> {
    let global = plan.global_batch(step)?;
    let dataset = global.cell.dataset;
    let lengths: Vec<RowLengths> =
        global.rows.iter().map(|&row| plan.store().lengths(dataset, row)).collect::<Result<_, _>>()?;
    let first_num_neg = lengths.first().map_or(0, |first| first.neg.len());
    let group_size = plan.policy(dataset).group_size.for_batch(first_num_neg);
    let choices: Vec<Choice> = (global.rows.iter().zip(&lengths))
        .map(|(&row, lengths)| plan.choose(global.epoch, dataset, row, lengths, group_size))
        .collect::<Result<_, _>>()?;
    let costs: Vec<u64> =
        lengths.iter().zip(&choices).map(|(lengths, choice)| row_cost(plan, lengths, choice)).collect();
    let deal = deal(&costs, world_size);
    Ok(DealtBatch { global, group_size, choices, deal })
}

/// What rank `rank` of `world_size` trains on in step `step`. Reads the tokens of its own rows only.
///
/// # Errors
/// As [`deal_batch`].
pub fn read_share(plan: &Plan, step: u64, rank: usize, world_size: usize) -> Result<Batch, PlanError> {
    let DealtBatch { global, group_size, choices, deal } = deal_batch(plan, step, world_size)?;
    let (store, special) = (plan.store(), plan.store().special());
    let dataset = global.cell.dataset;
    let policy = plan.policy(dataset);
    let rows = &deal.rows[rank];
    let mut batch = Batch {
        step,
        epoch: global.epoch,
        dataset: store.dataset(dataset).name.clone(),
        length_group: global.cell.length_group,
        num_global_queries: global.rows.len(),
        group_size,
        row_ids: rows.iter().map(|&i| global.rows[i]).collect(),
        queries: Vec::with_capacity(rows.len()),
        passages: Vec::with_capacity(rows.len() * group_size),
        text_ids: TextIds::default(),
        teacher_scores: None,
        negatives: policy.negatives,
        two_way: policy.two_way,
        imbalance: deal.imbalance,
    };
    let mut scores = Vec::with_capacity(rows.len() * group_size);
    for &i in rows {
        let row = store.row(dataset, global.rows[i])?;
        let Choice { positive, negatives, segment_order } = &choices[i];
        identify(&row, &choices[i], &mut batch.text_ids);
        let passage = |content: &[u32]| framed(special, content, plan.passage_max_len());
        batch.queries.push(framed(special, row.query(), plan.query_max_len()));
        batch.passages.push(match *segment_order {
            Some(order) => passage(&reorder_segments(row.pos(*positive), order)),
            None => passage(row.pos(*positive)),
        });
        scores.extend(row.pos_score(*positive));
        for &negative in negatives {
            batch.passages.push(passage(row.neg(negative)));
            scores.extend(row.neg_score(negative));
        }
    }
    // The data set decides, not this rank's rows: ranks must agree on whether there is a teacher.
    batch.teacher_scores = store.dataset(dataset).has_scores.then_some(scores);
    Ok(batch)
}

/// Appends the identities of a row's texts.
fn identify(row: &StoredRow, choice: &Choice, ids: &mut TextIds) {
    let positives: Vec<u64> = (0..row.num_pos()).map(|i| text_id(row.pos(i))).collect();
    ids.queries.push(text_id(row.query()));
    ids.passages.push(positives[choice.positive]);
    ids.passages.extend(choice.negatives.iter().map(|&i| text_id(row.neg(i))));
    ids.positives.push(positives);
}

fn framed(special: &SpecialTokens, content: &[u32], max_len: usize) -> Vec<i64> {
    special.frame(content, max_len).into_iter().map(i64::from).collect()
}

/// The estimated cost of a row's texts as they will be encoded, cut to length.
fn row_cost(plan: &Plan, lengths: &RowLengths, choice: &Choice) -> u64 {
    let cost = |content: usize, max_len: usize| text_cost((content + SpecialTokens::NUM_FRAMING).min(max_len));
    let passages: u64 = std::iter::once(lengths.pos[choice.positive])
        .chain(choice.negatives.iter().map(|&i| lengths.neg[i]))
        .map(|len| cost(len, plan.passage_max_len()))
        .sum();
    cost(lengths.query, plan.query_max_len()) + passages
}
