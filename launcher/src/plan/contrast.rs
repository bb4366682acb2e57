//! Whether a run's batches have anything to learn from, as far as the settings and the rows of their first batches
//! show. The run itself reports what shows only in steps.

use std::collections::{HashMap, HashSet};

use tercet_configs::{Negatives, Recipe, Teacher};
use tercet_sampler::{Cell, GroupSize, Plan, StoredRow, text_id};

/// Rows of a cell's first batch that are looked at.
const LOOKED_AT: usize = 256;

/// What would teach nothing, with remedies.
pub fn warnings(plan: &Plan, recipe: &Recipe, steps_of_cells: &[u64]) -> Vec<String> {
    let mut warnings = Vec::new();
    if recipe.optimizer.learning_rate == 0.0 {
        warnings.push("optimizer.learning_rate is 0: no step changes a weight".to_owned());
    }
    warnings.extend(recipe.optimizer.remark_on_rate());
    for (index, cell) in plan.cells().iter().enumerate() {
        if steps_of_cells.get(index).is_none_or(|steps| *steps > 0) {
            warnings.extend(of_cell(plan, recipe, index, cell));
        }
    }
    warnings
}

fn of_cell(plan: &Plan, recipe: &Recipe, index: usize, cell: &Cell) -> Option<String> {
    let source = plan.source(cell);
    let policy = &source.policy;
    let only_positives = policy.group_size == GroupSize::Fixed(1) && policy.negatives != Negatives::Own;
    let has_teacher =
        recipe.loss.teacher != Teacher::None && source.has_scores && policy.group_size != GroupSize::Fixed(1);
    if !(only_positives || has_teacher) {
        return None;
    }
    let mut positions = plan.batch_of_cell(index, 0).positions;
    let num_rows = positions.len();
    positions.truncate(LOOKED_AT);
    let rows: Vec<StoredRow> = positions
        .into_iter()
        .map(|(dataset, position)| plan.store().read(dataset, position).map(|(_, row)| row))
        .collect::<Result<_, _>>()
        .ok()?;
    let (above, up_to) = cell.lens;
    let which = match num_rows {
        n if n > LOOKED_AT => {
            format!("{source}, {}-{up_to} tokens: the first {LOOKED_AT} rows of its first batch", above + 1)
        }
        _ => format!("{source}, {}-{up_to} tokens: the rows of its first batch", above + 1),
    };
    // Another remark is about batches of one row.
    let only_positives = only_positives && rows.len() > 1;
    if only_positives && recipe.loss.mask_false_negatives && all_known(&rows) {
        return Some(format!(
            "{which} have no negative that is not a known answer, because they have the same query or the same \
             positive: the loss is 0; give them negatives, mix them with other rows, or set \
             loss.mask_false_negatives=false"
        ));
    }
    if only_positives && !recipe.loss.mask_false_negatives && one_positive(&rows) {
        return Some(format!("{which} have the same positive: a query's scores cannot differ, and nothing is learnt"));
    }
    (has_teacher && rows.iter().all(one_score)).then(|| {
        format!("{which} have the same teacher score for all of a row's passages: the teacher says nothing about them")
    })
}

/// Whether every positive of every row is known to answer every row's query.
fn all_known(rows: &[StoredRow]) -> bool {
    let positives = |row: &StoredRow| (0..row.num_pos()).map(|i| text_id(row.pos(i))).collect::<Vec<_>>();
    let mut answers = HashMap::<u64, HashSet<u64>>::new();
    for row in rows {
        answers.entry(text_id(row.query())).or_default().extend(positives(row));
    }
    let all: HashSet<u64> = rows.iter().flat_map(positives).collect();
    answers.values().all(|known| known.len() == all.len())
}

fn one_positive(rows: &[StoredRow]) -> bool {
    let ids: HashSet<u64> = rows.iter().flat_map(|row| (0..row.num_pos()).map(|i| text_id(row.pos(i)))).collect();
    ids.len() == 1
}

fn one_score(row: &StoredRow) -> bool {
    let positives = (0..row.num_pos()).map(|i| row.pos_score(i));
    let mut scores = positives.chain((0..row.num_neg()).map(|i| row.neg_score(i)));
    let first = scores.next().flatten();
    row.num_neg() > 0 && first.is_some() && scores.all(|score| score == first)
}
