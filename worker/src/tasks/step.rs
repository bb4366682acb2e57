//! `step`: one step on given rows, without updating anything: what people compare trainers with.
//!
//! The rows are dealt to the ranks contiguously, so that the score matrices' rows are in the given order.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use tch::Tensor;
use tercet_cluster::{Collective, gather_counts};
use tercet_configs::{Negatives, Recipe, Teacher};
use tercet_sampler::{Row, RowReader, TextTokenizer, contiguous_share};

use super::error::TaskError;
use crate::device::device_of;
use crate::exchange::all_gather_rows;
use crate::loss::hybrid;
use crate::model::{M3Model, ModelOptions};
use crate::representation::TextInput;
use crate::step::{StepBatch, StepOutcome, StepSettings, compute_gradients};
use crate::train::kind_of;

/// Arguments of `tercet-worker step`.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// The recipe
    pub recipe: PathBuf,
    /// Directory of the model (Hugging Face layout)
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Rows in the published trainer's format
    #[arg(long, value_name = "FILE.jsonl", required_unless_present = "tokens", conflicts_with = "tokens")]
    pub rows: Option<PathBuf>,
    /// A batch already tokenised: q.input_ids, q.attention_mask, p.input_ids, p.attention_mask, and for a recipe with a
    /// teacher teacher_scores
    #[arg(long, value_name = "FILE.safetensors")]
    pub tokens: Option<PathBuf>,
    /// Overrides a recipe's key, e.g. loss.temperature=0.05
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// A whole batch before it is dealt: Q queries, G passages each.
struct GivenBatch {
    queries: Vec<TextInput>,
    /// Query i's passages are at i·G … i·G + G − 1.
    passages: Vec<TextInput>,
    /// [Q·G].
    teacher_scores: Option<Vec<f32>>,
}

/// Computes one step and prints its figures as one JSON object (rank 0). Every rank calls it.
///
/// # Errors
/// Input that cannot be used, or a collective that failed.
pub fn run(args: &StepArgs, ranks: &dyn Collective) -> anyhow::Result<()> {
    let recipe = Recipe::load(&args.recipe, &args.settings)?;
    let options = ModelOptions::of(&recipe.model, recipe.seed);
    let mut model = M3Model::load(&args.model, &options, device_of(ranks), kind_of(recipe.precision))?;
    model.enable_gradients();
    let batch = match (&args.rows, &args.tokens) {
        (Some(path), _) => read_rows(path, &args.model, &recipe)?,
        (None, Some(path)) => read_tokens(path)?,
        (None, None) => return Err(TaskError::Usage("give --rows or --tokens".into()).into()),
    };
    check(&batch, &model, &recipe, ranks.world_size())?;
    let share = contiguous_share(batch.queries.len(), ranks.rank(), ranks.world_size());
    let own = deal(&batch, share, &recipe);
    let outcome = compute_gradients(&model, ranks, &StepSettings::of(&recipe), &own)?;
    let report = report(&model, &outcome, &recipe, own.num_queries, ranks)?;
    if ranks.rank() == 0 {
        println!("{report}");
    }
    Ok(())
}

fn check(batch: &GivenBatch, model: &M3Model, recipe: &Recipe, world_size: usize) -> anyhow::Result<()> {
    let texts = || batch.queries.iter().chain(&batch.passages);
    let longest = texts().map(|text| text.ids.len()).max().unwrap_or(0);
    model.check_lengths(longest, texts().flat_map(|text| &text.ids).copied().max().unwrap_or(0))?;
    if batch.queries.len() < world_size {
        let rows = batch.queries.len();
        return Err(
            TaskError::Usage(format!("{rows} rows for {world_size} ranks: give at least one row per rank")).into()
        );
    }
    if recipe.loss.teacher != Teacher::None && batch.teacher_scores.is_none() {
        return Err(TaskError::Usage(
            "loss.teacher needs teacher scores: pos_scores and neg_scores in every row, or teacher_scores [Q, G] beside \
             the tokens"
                .into(),
        )
        .into());
    }
    Ok(())
}

/// This rank's queries and their passages.
fn deal(batch: &GivenBatch, share: std::ops::Range<usize>, recipe: &Recipe) -> StepBatch {
    let group_size = batch.passages.len() / batch.queries.len();
    let passages = share.start * group_size..share.end * group_size;
    StepBatch {
        step: 0,
        num_queries: share.len(),
        group_size,
        num_global_queries: batch.queries.len(),
        texts: batch.queries[share].iter().chain(&batch.passages[passages.clone()]).cloned().collect(),
        teacher_scores: batch.teacher_scores.as_ref().map(|scores| scores[passages].to_vec()),
        negatives: recipe.data.negatives,
        two_way: recipe.data.two_way,
    }
}

fn report(
    model: &M3Model,
    outcome: &StepOutcome,
    recipe: &Recipe,
    num_queries: usize,
    ranks: &dyn Collective,
) -> anyhow::Result<Value> {
    let counts = gather_counts(ranks, num_queries)?;
    let tempered = outcome.scores.map(|s| s / recipe.loss.temperature);
    let hybrid = hybrid(&recipe.loss, &tempered);
    let mut scores = Map::new();
    for (head, matrix) in [
        ("dense", Some(&tempered.dense)),
        ("lexical", tempered.lexical.as_ref()),
        ("multi_vector", tempered.multi_vector.as_ref()),
        ("hybrid", hybrid.as_ref()),
    ] {
        if let Some(matrix) = matrix {
            let all = all_gather_rows(ranks, matrix, &counts)?.to_kind(tch::Kind::Double);
            scores.insert(head.into(), json!(Vec::<Vec<f64>>::try_from(&all)?));
        }
    }
    let norm = |t: &Tensor| t.norm().double_value(&[]);
    let trained = model.parameters.named_grads().filter(|(name, _)| !name.starts_with("pooler."));
    let norms: Map<String, Value> = trained.map(|(name, gradient)| (name.to_owned(), norm(&gradient).into())).collect();
    Ok(json!({
        "loss": outcome.loss,
        "terms": outcome.terms,
        "scores": scores,
        "param_grad_norm": norms,
        "total_grad_norm": norm(&model.parameters.flat_grad()),
        "world_size": ranks.world_size(),
    }))
}

/// Rows as training reads them, but always the first positive and the first negatives.
fn read_rows(path: &Path, model: &Path, recipe: &Recipe) -> anyhow::Result<GivenBatch> {
    let rows: Vec<Row> = RowReader::open(path)?.collect::<Result<_, _>>()?;
    if rows.is_empty() {
        return Err(TaskError::Data { path: path.to_owned(), reason: "has no rows".into() }.into());
    }
    let tokenizer = TextTokenizer::load(&model.join("tokenizer.json"))?;
    let data = &recipe.data;
    let without = rows.iter().all(|row| row.neg.is_empty()) || data.negatives == Negatives::InBatch;
    let num_negatives = if without { 0 } else { data.group_size - 1 };
    let frame = |text: &str, max_len: usize| -> anyhow::Result<TextInput> {
        let ids = tokenizer.frame(&tokenizer.encode_content(text)?, max_len);
        Ok(TextInput::new(ids.into_iter().map(i64::from).collect()))
    };
    let mut batch = GivenBatch { queries: Vec::new(), passages: Vec::new(), teacher_scores: Some(Vec::new()) };
    for (i, row) in rows.iter().enumerate() {
        if row.neg.is_empty() && num_negatives > 0 {
            let reason = format!("row {} has no negatives where others do: set data.group_size=1", i + 1);
            return Err(TaskError::Data { path: path.to_owned(), reason }.into());
        }
        // Too few negatives repeat, as in the published trainer.
        let negatives = (0..num_negatives).map(|k| k % row.neg.len());
        batch.queries.push(frame(&row.query_text(), data.query_max_len)?);
        batch.passages.push(frame(&row.pos[0], data.passage_max_len)?);
        for k in negatives.clone() {
            batch.passages.push(frame(&row.neg[k], data.passage_max_len)?);
        }
        let scores = row.pos_scores.as_ref().zip(row.neg_scores.as_ref());
        let scores = scores.map(|(p, n)| std::iter::once(p[0]).chain(negatives.map(|k| n[k])).collect::<Vec<f32>>());
        batch.teacher_scores = batch.teacher_scores.zip(scores).map(|(mut all, own)| {
            all.extend(own);
            all
        });
    }
    Ok(batch)
}

/// A batch that is already token ids.
fn read_tokens(path: &Path) -> anyhow::Result<GivenBatch> {
    let fail = |reason: String| TaskError::Data { path: path.to_owned(), reason };
    let tensors = Tensor::read_safetensors(path).map_err(|e| fail(format!("not a readable safetensors file ({e})")))?;
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let texts = |which: &str| -> Result<Vec<TextInput>, TaskError> {
        let matrix = |name: String| -> Result<Vec<Vec<i64>>, TaskError> {
            let tensor = tensors.get(&name).ok_or_else(|| fail(format!("has no tensor {name}")))?;
            Vec::try_from(tensor.to_kind(tch::Kind::Int64))
                .map_err(|_| fail(format!("{name} has shape {:?}: expected [texts, tokens]", tensor.size())))
        };
        let (ids, mask) = (matrix(format!("{which}.input_ids"))?, matrix(format!("{which}.attention_mask"))?);
        let real = |(ids, mask): (Vec<i64>, Vec<i64>)| {
            TextInput::new(ids.into_iter().zip(mask).filter(|(_, m)| *m != 0).map(|(id, _)| id).collect())
        };
        Ok(ids.into_iter().zip(mask).map(real).collect())
    };
    let (queries, passages) = (texts("q")?, texts("p")?);
    if queries.is_empty() || passages.is_empty() || !passages.len().is_multiple_of(queries.len()) {
        let (q, p) = (queries.len(), passages.len());
        return Err(fail(format!("{p} passages for {q} queries: expected the same number for each query")).into());
    }
    let teacher = tensors.get("teacher_scores").map(|t| t.to_kind(tch::Kind::Float).flatten(0, -1));
    if let Some(found) = teacher.as_ref().filter(|t| t.numel() != passages.len()) {
        return Err(
            fail(format!("teacher_scores has {} numbers for {} passages", found.numel(), passages.len())).into()
        );
    }
    let teacher_scores = teacher.map(|t| Vec::<f32>::try_from(&t)).transpose()?;
    Ok(GivenBatch { queries, passages, teacher_scores })
}
