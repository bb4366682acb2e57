//! Deals some steps of the plan for real: from the lengths of their texts to what every rank would do.
//!
//! All steps would take too long for a large run, so a bounded number of each cell's batches is taken, evenly spread
//! over those that the run takes. The same recipe, store and world give the same figures.

use rayon::prelude::*;
use tercet_configs::Recipe;
use tercet_sampler::{DealtBatch, Plan, PlanError, SubBatchLimit, deal_global};

use super::dealt::DealtStep;
use super::memory::Fit;
use super::predicted::Predicted;
use super::vocabulary::add_distinct;
use super::work::RankLoad;

/// The largest number of batches of a cell.
const BATCHES_PER_CELL: u64 = 32;

/// The approximate number of rows of all dealt batches together. They take a second or two.
const ROWS: u64 = 2_000_000;

/// Deals a sample of the batches that the run takes to `world_size` ranks, which compute and keep what `fit` says;
/// `lexical` also counts distinct tokens, which needs the texts themselves.
///
/// # Errors
/// If the store cannot be read, or rows lack what the recipe asks for.
pub fn deal_sample(
    plan: &Plan,
    recipe: &Recipe,
    batches: &[u64],
    (world_size, fit): (usize, Fit),
    lexical: bool,
) -> Result<Vec<DealtStep>, PlanError> {
    let wanted = sample(plan, batches);
    let dealt = wanted.into_par_iter().map(|(cell, nth)| {
        let progress = (nth as f64 + 0.5) / batches[cell] as f64;
        deal_one(plan, recipe, (cell, nth), progress, (world_size, fit))
    });
    let mut dealt: Vec<DealtStep> = dealt.collect::<Result<_, _>>()?;
    if lexical {
        add_distinct(plan, &mut dealt)?;
    }
    Ok(dealt)
}

/// (cell, batch) pairs: of every cell that gives `batches`, evenly spread ones, as many as the rows allow. Where even
/// one of each would be too many rows, cells take turns, the ones with most batches first.
fn sample(plan: &Plan, batches: &[u64]) -> Vec<(usize, u64)> {
    let mut cells: Vec<usize> = (0..batches.len()).filter(|&cell| batches[cell] > 0).collect();
    cells.sort_by_key(|&cell| std::cmp::Reverse(batches[cell]));
    let share = ROWS / cells.len().max(1) as u64;
    let mut left = ROWS;
    let mut chosen = Vec::new();
    for cell in cells {
        let global_batch = plan.cells()[cell].size.global_batch;
        let wanted = (share / global_batch).clamp(1, BATCHES_PER_CELL).min(batches[cell]);
        let Some(rest) = left.checked_sub(wanted * global_batch).or((chosen.is_empty()).then_some(0)) else { continue };
        left = rest;
        chosen.extend((0..wanted).map(|i| (cell, (2 * i + 1) * batches[cell] / (2 * wanted))));
    }
    chosen.sort_unstable();
    chosen
}

fn deal_one(
    plan: &Plan,
    recipe: &Recipe,
    (cell, nth): (usize, u64),
    progress: f64,
    (world_size, fit): (usize, Fit),
) -> Result<DealtStep, PlanError> {
    let dealt = deal_global(plan, plan.batch_of_cell(cell, nth), world_size)?;
    let limit = SubBatchLimit { tokens: fit.sub_batch_tokens, texts: recipe.sub_batch_texts };
    let predicted = |len| Predicted::of(recipe, len);
    let mut ranks = Vec::with_capacity(world_size);
    for rank in 0..world_size {
        let share = dealt.share_lens(plan, rank)?;
        ranks.push(RankLoad::new(&share, limit, fit.kept_graph_tokens.unwrap_or(usize::MAX), predicted));
    }
    let DealtBatch { group_size, deal, .. } = dealt;
    let two_way = plan.source(&plan.cells()[cell]).policy.two_way;
    Ok(DealtStep { cell, nth, progress, group_size, imbalance: deal.imbalance, two_way, ranks })
}
