//! What a user should know before a GPU is booked: what would fail, and what would waste.

use tercet_configs::{ModelShape, Recipe};
use tercet_sampler::{Plan, not_in_table};

use super::contrast;
use super::memory::PeakMemory;
use super::report::{CellReport, StepFigures};
use super::units::scaled;
use super::vocabulary::has_lengths_alone;

/// The number of passes over the same rows from which on the user is warned.
const MANY_PASSES: f64 = 10.0;

/// The share by which the most loaded rank may exceed the mean.
const IMBALANCE: f64 = 1.05;

/// Why training would refuse to start, each with a remedy.
pub fn errors(plan: &Plan, recipe: &Recipe, world_size: usize, shape: Option<&ModelShape>) -> Vec<String> {
    let mut errors = Vec::new();
    if recipe.steps == 0 {
        errors.push("steps is 0: set it to the number of optimizer steps of the run".to_owned());
    }
    if let Err(error) = plan.check_world(world_size) {
        errors.push(error.to_string());
    }
    if let Some(shape) = shape {
        errors.extend(too_long(plan, shape));
        let (largest, table_rows) = (plan.store().max_token_id(), shape.config.vocab_size);
        if largest as usize >= table_rows {
            errors.push(not_in_table(largest, table_rows, recipe.model.tokenizer_json().as_deref()));
        }
    }
    errors
}

/// As the worker checks it.
fn too_long(plan: &Plan, shape: &ModelShape) -> Option<String> {
    let longest = plan.longest_text();
    let limit = shape.config.max_text_len();
    (longest > limit).then(|| {
        format!(
            "a text of {longest} tokens is longer than the model's limit of {limit}: lower data.{} or raise \
             model.max_position_embeddings to {}",
            if plan.passage_max_len() == 0 { "text_max_len" } else { "passage_max_len" },
            longest + shape.config.first_position()
        )
    })
}

/// What would waste, each with numbers and a remedy.
pub fn warnings(plan: &Plan, recipe: &Recipe, world_size: usize, cells: &[CellReport]) -> Vec<String> {
    let mut warnings = plan.warnings().to_vec();
    let steps: Vec<u64> = cells.iter().map(|cell| cell.steps).collect();
    warnings.extend(contrast::warnings(plan, recipe, &steps));
    warnings.extend(unbalanced(cells, world_size));
    warnings.extend(sub_batches(plan, recipe, cells));
    warnings.extend(passes(cells));
    warnings
}

/// A step that needs more than a card has.
pub fn memory(peak: Option<&PeakMemory>, memory_bytes: Option<f64>) -> Option<String> {
    let (peak, bytes) = peak.zip(memory_bytes).filter(|(peak, bytes)| peak.total_bytes > *bytes)?;
    Some(format!(
        "a rank needs {} in the {}, and the card has {}: lower sub_batch_tokens or kept_graph_tokens, set memory_budget = \
         \"auto\", share AdamW's moments out with optimizer.shard_state, or use more ranks",
        scaled(peak.total_bytes, "B"),
        peak.phase,
        scaled(bytes, "B"),
    ))
}

/// Costs of the lexical head that follow from no text.
pub fn lengths_alone(plan: &Plan) -> Option<String> {
    has_lengths_alone(plan).then(|| {
        "the store has lengths and no texts: distinct tokens, which the lexical head's costs depend on, are those that \
         texts of such lengths usually have"
            .to_owned()
    })
}

/// Cells whose ranks wait for the most loaded one.
fn unbalanced(cells: &[CellReport], world_size: usize) -> Option<String> {
    let (worst, imbalance, others) = worst(cells, IMBALANCE, |batch| batch.imbalance)?;
    Some(format!(
        "{}: the most loaded rank has {:.0} % more to do than the mean, because {world_size} ranks share only {} rows\
         {others}: raise the group's global_batch, or use fewer ranks",
        name(worst),
        100.0 * (imbalance - 1.0),
        worst.global_batch
    ))
}

/// The cell of the run with the largest figure, if that is above `limit`; the figure; and how many others are above.
fn worst(cells: &[CellReport], limit: f64, figure: impl Fn(&StepFigures) -> f64) -> Option<(&CellReport, f64, String)> {
    let taken = cells.iter().filter(|cell| cell.steps > 0);
    let found: Vec<(&CellReport, f64)> =
        taken.filter_map(|cell| Some((cell, figure(cell.batch.as_ref()?)))).filter(|(_, f)| *f > limit).collect();
    let &(cell, largest) = found.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let others = match found.len() - 1 {
        0 => String::new(),
        n => format!(" ({n} more length groups are above {:.0} %)", 100.0 * limit % 100.0),
    };
    Some((cell, largest, others))
}

/// Texts that are larger than a sub-batch decide the memory.
fn sub_batches(plan: &Plan, recipe: &Recipe, cells: &[CellReport]) -> Option<String> {
    let longest_taken = plan.query_max_len().max(plan.passage_max_len());
    let longest = cells.iter().filter(|cell| cell.steps > 0).map(|cell| cell.up_to_tokens).max()?.min(longest_taken);
    (longest > recipe.sub_batch_tokens).then(|| {
        format!(
            "sub_batch_tokens is {}, but texts have up to {longest} tokens: such a text goes alone and needs the memory of \
             {longest} tokens; set sub_batch_tokens to {longest}, which costs no more at the peak",
            recipe.sub_batch_tokens
        )
    })
}

/// Small cells among large ones are seen often.
fn passes(cells: &[CellReport]) -> Option<String> {
    let most = cells.iter().max_by(|a, b| a.passes.total_cmp(&b.passes)).filter(|cell| cell.passes > MANY_PASSES)?;
    Some(format!(
        "{}: each of its {} rows is seen {:.0} times: lower steps, or add data",
        name(most),
        most.rows,
        most.passes
    ))
}

fn name(cell: &CellReport) -> String {
    format!("data set `{}`, {}-{} tokens", cell.dataset, cell.above_tokens + 1, cell.up_to_tokens)
}
