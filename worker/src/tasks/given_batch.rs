//! The batch that `step` is given: rows of text or token ids, read whole by every rank.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use tch::Tensor;
use tercet_configs::{Negatives, Recipe};
use tercet_sampler::{Row, RowReader, TextIds, TextTokenizer, text_id};

use super::error::TaskError;
use crate::representation::TextInput;
use crate::step::StepBatch;

/// A whole batch before it is dealt: Q queries, G passages each.
#[derive(Debug, Default)]
pub(super) struct GivenBatch {
    /// `[Q]`
    pub queries: Vec<TextInput>,
    /// Query i's passages are at i·G … i·G + G − 1. `[Q·G]`
    pub passages: Vec<TextInput>,
    /// Which of all these texts are the same.
    pub text_ids: TextIds,
    /// `[Q·G]`
    pub teacher_scores: Option<Vec<f32>>,
}

impl GivenBatch {
    /// Rows as training reads them, but always the first positive and the first negatives.
    pub fn read_rows(path: &Path, model: &Path, recipe: &Recipe) -> anyhow::Result<Self> {
        let rows: Vec<Row> = RowReader::open(path)?.collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Err(TaskError::Data { path: path.to_owned(), reason: "has no rows".into() }.into());
        }
        let tokenizer = TextTokenizer::load(&model.join("tokenizer.json"))?;
        let data = &recipe.data;
        let without = rows.iter().all(|row| row.neg.is_empty()) || data.negatives == Negatives::InBatch;
        let num_negatives = if without { 0 } else { data.group_size - 1 };
        let frame = |content: &[u32], max_len: usize| {
            TextInput::new(tokenizer.frame(content, max_len).into_iter().map(i64::from).collect())
        };
        let mut batch = Self { teacher_scores: Some(Vec::new()), ..Self::default() };
        for (i, row) in rows.iter().enumerate() {
            if row.neg.is_empty() && num_negatives > 0 {
                let reason = format!("row {} has no negatives where others do: set data.group_size=1", i + 1);
                return Err(TaskError::Data { path: path.to_owned(), reason }.into());
            }
            // Too few negatives repeat, as in the published trainer.
            let negatives = (0..num_negatives).map(|k| k % row.neg.len());
            let query = tokenizer.encode_content(&row.query_text())?;
            batch.queries.push(frame(&query, data.query_max_len));
            batch.text_ids.queries.push(text_id(&query));
            let positives = tokenizer.encode_contents(&row.pos)?;
            batch.text_ids.positives.push(positives.iter().map(|text| text_id(text)).collect());
            for text in std::iter::once(&row.pos[0]).chain(negatives.clone().map(|k| &row.neg[k])) {
                let content = tokenizer.encode_content(text)?;
                batch.passages.push(frame(&content, data.passage_max_len));
                batch.text_ids.passages.push(text_id(&content));
            }
            let scores = row.pos_scores.as_ref().zip(row.neg_scores.as_ref());
            let scores =
                scores.map(|(p, n)| std::iter::once(p[0]).chain(negatives.map(|k| n[k])).collect::<Vec<f32>>());
            batch.teacher_scores = batch.teacher_scores.zip(scores).map(|(mut all, own)| {
                all.extend(own);
                all
            });
        }
        Ok(batch)
    }

    /// A batch that is already token ids. Texts are the same where these are.
    pub fn read_tokens(path: &Path) -> anyhow::Result<Self> {
        let fail = |reason: String| TaskError::Data { path: path.to_owned(), reason };
        let tensors =
            Tensor::read_safetensors(path).map_err(|e| fail(format!("not a readable safetensors file ({e})")))?;
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
        let id = |text: &TextInput| text_id(&text.ids.iter().map(|&id| id as u32).collect::<Vec<_>>());
        let passage_ids: Vec<u64> = passages.iter().map(id).collect();
        let text_ids = TextIds {
            queries: queries.iter().map(id).collect(),
            positives: passage_ids
                .iter()
                .step_by(passages.len() / queries.len())
                .map(|&positive| vec![positive])
                .collect(),
            passages: passage_ids,
        };
        Ok(Self { queries, passages, text_ids, teacher_scores })
    }

    /// One rank's queries, those of `share`, and their passages.
    pub fn share(&self, share: Range<usize>, recipe: &Recipe) -> StepBatch {
        let group_size = self.passages.len() / self.queries.len();
        let passages = share.start * group_size..share.end * group_size;
        StepBatch {
            step: 0,
            num_queries: share.len(),
            group_size,
            num_global_queries: self.queries.len(),
            texts: self.queries[share.clone()].iter().chain(&self.passages[passages.clone()]).cloned().collect(),
            text_ids: TextIds {
                queries: self.text_ids.queries[share.clone()].to_vec(),
                positives: self.text_ids.positives[share].to_vec(),
                passages: self.text_ids.passages[passages.clone()].to_vec(),
            },
            teacher_scores: self.teacher_scores.as_ref().map(|scores| scores[passages].to_vec()),
            negatives: recipe.data.negatives,
            two_way: recipe.data.two_way,
        }
    }
}
