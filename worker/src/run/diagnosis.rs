//! Finds where a loss or gradient stopped being finite: computes the batch again and inspects every stage.
//!
//! A step is deterministic, so a fault occurs again, and steps without a fault pay nothing for inspection. The weights
//! are those with which the step began, because a faulty step does not change them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tch::Tensor;
use tercet_cluster::{Collective, CollectiveError, all_ranks, gather_ragged};
use tercet_sampler::{Batch, RowId, Share, Store};

use crate::model::Parameters;
use crate::model::representation::{Representations, owners};
use crate::model::sub_batch::SubBatch;
use crate::scoring::Scores;
use crate::step::gradients;
use crate::step::inspect::Inspect;
use crate::step::settings::Trainee;

/// The largest number of rows that are named for each rank.
const NAMED_ROWS: usize = 8;

/// The first stage at which something is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Stage {
    Representations,
    Scores,
    LossGradient,
    Backward,
}

/// What one rank found.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Finding {
    stage: Stage,
    /// A single empty name in the backward pass, which belongs to all heads.
    heads: Vec<String>,
    rows: Vec<(RowIdParts, Option<(PathBuf, u64)>)>,
    num_rows: usize,
    /// The parameter whose non-finite gradient the backward pass reaches first.
    parameter: Option<String>,
    /// A weight that is itself not finite.
    weight: Option<String>,
    host: String,
}

/// Data set and number of a row.
type RowIdParts = (String, u64);

/// Computes `batch` again and says where it stops being finite. `rows` are this rank's. The text is the same on every
/// rank. Every rank calls it.
///
/// # Errors
/// A collective that failed.
pub(super) fn find_culprit(
    of: &Trainee,
    ranks: &dyn Collective,
    batch: &Batch,
    store: &Store,
) -> Result<String, CollectiveError> {
    let (share, rows, parameters) = (&batch.share, &batch.origin.row_ids, &of.model.parameters);
    let mut inspection = Inspection { parameters, share, found: None, parameter: None };
    let outcome = gradients(of, ranks, share, &mut inspection)?;
    // Numbers that are finite may have a norm that is not.
    let finite = outcome.loss.is_finite() && has_norm(&parameters.flat_grad());
    let finite = all_ranks(ranks, finite)?;
    let parameter = inspection.parameter;
    let own = inspection.found.map(|(stage, heads, queries)| Finding {
        stage,
        heads,
        rows: queries.iter().take(NAMED_ROWS).map(|&query| name_of(rows[query], store)).collect(),
        num_rows: queries.len(),
        parameter,
        weight: first_not_finite(parameters.named_views(&parameters.flat)),
        host: ranks.host().to_owned(),
    });
    let found = gather(ranks, own)?;
    Ok(match found.iter().flatten().map(|finding| finding.stage).min() {
        Some(first) => {
            let of_stage = found.iter().enumerate().filter_map(|(rank, finding)| Some((rank, finding.as_ref()?)));
            let lines = of_stage.filter(|(_, finding)| finding.stage == first).map(|(rank, f)| f.describe(rank));
            lines.collect::<Vec<_>>().join(" | ")
        }
        None if finite => "all is finite when the batch is computed again: a fault of a machine that has passed".into(),
        None => "each rank's part is finite, only their sum or its norm is not: the gradient is too large".into(),
    })
}

/// Every rank's finding, on all ranks. Every rank calls it.
fn gather(ranks: &dyn Collective, own: Option<Finding>) -> Result<Vec<Option<Finding>>, CollectiveError> {
    // Plain data can always be written as JSON, and all ranks run the same program.
    let all = gather_ragged(ranks, &serde_json::to_vec(&own).expect("plain data"))?;
    Ok(all.iter().map(|bytes| serde_json::from_slice(bytes).expect("what a rank wrote")).collect())
}

impl Finding {
    fn describe(&self, rank: usize) -> String {
        let where_found = match self.stage {
            Stage::Representations => format!("{} representations", self.heads.join(" and ")),
            Stage::Scores => format!("{} scores", self.heads.join(" and ")),
            Stage::LossGradient => format!("the loss by the {} scores", self.heads.join(" and ")),
            Stage::Backward => "backward pass".to_owned(),
        };
        let names = self.rows.iter().map(|((dataset, row), place)| match place {
            Some((path, number)) => format!("{dataset}:{row} (row {number} of {})", path.display()),
            None => format!("{dataset}:{row}"),
        });
        let mut rows = names.collect::<Vec<_>>().join(", ");
        if self.num_rows > self.rows.len() {
            rows += &format!(" and {} more", self.num_rows - self.rows.len());
        }
        let mut text = format!("rank {rank} ({}), {where_found}, rows {rows}", self.host);
        if let Some(parameter) = &self.parameter {
            text += &format!("; first parameter {parameter}");
        }
        if let Some(weight) = &self.weight {
            text += &format!("; the weights of {weight} are themselves not finite");
        }
        text
    }
}

/// A row's data set and number, and the file that it came from with its number there, from 1.
fn name_of(id: RowId, store: &Store) -> (RowIdParts, Option<(PathBuf, u64)>) {
    let dataset = store.dataset(id.dataset);
    let place = dataset.source_of(id.row).map(|(source, before)| (source.path.clone(), before + 1));
    ((dataset.name.clone(), id.row), place)
}

/// Finds the first stage of this rank's part that is not finite.
struct Inspection<'a> {
    parameters: &'a Parameters,
    share: &'a Share,
    /// Stage, heads, this rank's queries whose rows are concerned, ascending.
    found: Option<(Stage, Vec<String>, Vec<usize>)>,
    parameter: Option<String>,
}

impl Inspection<'_> {
    /// Notes a stage unless an earlier one was noted. `bad` holds heads with the affected queries.
    fn note(&mut self, stage: Stage, bad: Vec<(&str, Vec<usize>)>) {
        let (heads, queries): (Vec<&str>, Vec<Vec<usize>>) = bad.into_iter().filter(|(_, q)| !q.is_empty()).unzip();
        if self.found.is_none() && !heads.is_empty() {
            let heads = heads.into_iter().map(str::to_owned).collect();
            self.found = Some((stage, heads, distinct(queries.concat())));
        }
    }

    /// The queries of the rows to which `texts` belong.
    fn queries_of(&self, texts: impl Iterator<Item = i64>) -> Vec<usize> {
        let (q, g) = (self.share.num_queries, self.share.group_size);
        let query = |text: usize| if text < q { text } else { (text - q) / g };
        distinct(texts.map(|text| query(text as usize)).collect())
    }
}

impl Inspect for Inspection<'_> {
    fn representations(&mut self, all: &Representations) {
        let mut bad = vec![("dense", self.queries_of(bad_rows(&all.dense)))];
        if let Some(lexical) = &all.lexical {
            let owners = owners(&lexical.offsets);
            bad.push(("lexical", self.queries_of(bad_rows(&lexical.weights).map(|i| owners[i as usize]))));
        }
        if let Some(multi_vector) = &all.multi_vector {
            let owners = owners(&multi_vector.offsets);
            bad.push(("multi-vector", self.queries_of(bad_rows(&multi_vector.vectors).map(|i| owners[i as usize]))));
        }
        self.note(Stage::Representations, bad);
    }

    fn scores(&mut self, scores: &Scores) {
        self.note(Stage::Scores, bad_queries(scores));
    }

    fn d_scores(&mut self, d_scores: &Scores) {
        self.note(Stage::LossGradient, bad_queries(d_scores));
    }

    fn looks_at_gradients(&self) -> bool {
        true
    }

    fn gradient_of(&mut self, sub_batch: &SubBatch) {
        if self.parameter.is_some() || is_finite(&self.parameters.flat_grad()) {
            return;
        }
        // Weights come before biases, and each from the last to the first: those nearest the output are last in the
        // flat buffer.
        let (weights, biases): (Vec<_>, Vec<_>) =
            self.parameters.named_grads().partition(|(name, _)| name.ends_with(".weight"));
        let last_first = weights.into_iter().rev().chain(biases.into_iter().rev());
        self.parameter = first_not_finite(last_first);
        let texts = Vec::<i64>::try_from(&sub_batch.texts).expect("one-dimensional int64");
        self.note(Stage::Backward, vec![("", self.queries_of(texts.into_iter()))]);
    }
}

/// By head, the queries whose rows of the matrix have a value that is not finite.
fn bad_queries(scores: &Scores) -> Vec<(&'static str, Vec<usize>)> {
    let heads = [
        ("dense", Some(&scores.dense)),
        ("lexical", scores.lexical.as_ref()),
        ("multi-vector", scores.multi_vector.as_ref()),
    ];
    let queries = |matrix: &Tensor| bad_rows(matrix).map(|query| query as usize).collect();
    heads.into_iter().filter_map(|(name, matrix)| Some((name, queries(matrix?)))).collect()
}

/// The indices along the first dimension at which a value is not finite, ascending.
fn bad_rows(tensor: &Tensor) -> impl Iterator<Item = i64> {
    let bad = tensor.isfinite().logical_not();
    let bad = if tensor.dim() > 1 { bad.any_dim(1, false) } else { bad };
    Vec::<i64>::try_from(bad.nonzero().flatten(0, -1)).expect("one-dimensional int64").into_iter()
}

fn is_finite(tensor: &Tensor) -> bool {
    tensor.isfinite().all().int64_value(&[]) != 0
}

/// Whether the norm is finite in the tensor's own precision, in which the optimizer computes it.
fn has_norm(gradient: &Tensor) -> bool {
    is_finite(&gradient.norm())
}

fn first_not_finite<'a>(mut named: impl Iterator<Item = (&'a str, Tensor)>) -> Option<String> {
    named.find(|(_, tensor)| !is_finite(tensor)).map(|(name, _)| name.to_owned())
}

fn distinct(mut values: Vec<usize>) -> Vec<usize> {
    values.sort_unstable();
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_may_overflow_where_no_number_does() {
        let large = Tensor::from_slice(&[1e30f32, -1e30]);
        assert!(is_finite(&large) && !has_norm(&large));
        assert!(has_norm(&Tensor::from_slice(&[1e10f32, -1e10])));
        assert!(!has_norm(&Tensor::from_slice(&[1.0f32, f32::NAN])));
    }
}
