//! The batch that `step` is given: rows of text or token ids, read whole by every rank.
//!
//! Rows become a batch as in training: with the prefixes, the group size and the negatives of their data set, and what
//! their `type` implies. Two things differ: the choice is always the first positive and the first negatives, and all
//! rows are one batch, however long they are.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use tch::Tensor;
use tercet_cluster::Collective;
use tercet_configs::{FewNegatives, Negatives, Recipe};
use tercet_sampler::{
    GroupSize, Policy, Row, RowReader, Share, SpecialTokens, TextIds, TextInput, TextTokenizer, text_id, unpacked_name,
};

use crate::files::CommandError;
use crate::files::unread::Unread;

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
    /// Which passages a query is contrasted with.
    pub negatives: Negatives,
    /// Also contrast each positive with all queries.
    pub two_way: bool,
}

impl GivenBatch {
    /// Rows as training reads them, of a file or a folder of Hugging Face `datasets`, with the settings of the data set
    /// `dataset`, or else of the one that has the file's name.
    pub fn read_rows(
        path: &Path,
        dataset: Option<&str>,
        tokenizer_folder: &Path,
        recipe: &Recipe,
        ranks: &dyn Collective,
    ) -> anyhow::Result<Self> {
        let bad = |reason: String| CommandError::Data { path: path.to_owned(), reason };
        let rows = RowReader::read_all(path)?;
        if rows.is_empty() {
            return Err(bad("has no rows".into()).into());
        }
        let load = || TextTokenizer::load(&tokenizer_folder.join("tokenizer.json"));
        let kind = kind_of(&rows).map_err(bad)?;
        let name = name_of(path, dataset, recipe)?;
        let (policy, tokenizer) = (Policy::of_rows(&name, kind, recipe, load()?)?, load()?);
        if ranks.rank() == 0 && recipe.data.sets.iter().any(|set| set.name == name) {
            tracing::info!("the rows take the settings of data set `{name}` (--dataset chooses another)");
        }
        if ranks.rank() == 0 {
            let mut unread = Unread::default();
            rows.iter().for_each(|row| unread.add(row));
            unread.tell(&path.display().to_string());
        }
        let rows = leave_out_few(rows, &policy, ranks);
        let Some((_, first)) = rows.first() else {
            return Err(bad("no row has enough negatives (few_negatives = \"reject\")".into()).into());
        };
        let without = rows.iter().all(|(_, row)| row.neg.is_empty());
        if without && policy.group_size != GroupSize::Fixed(1) && ranks.rank() == 0 {
            tracing::warn!("no row has negatives: groups are of 1 passage, where training refuses such a data set");
        }
        let num_negatives = if without { 0 } else { policy.group_size.for_batch(first.neg.len()) - 1 };
        let data = &recipe.data;
        let batch = Self { negatives: policy.negatives, two_way: policy.two_way, ..Self::default() };
        let mut batch = Self { teacher_scores: Some(Vec::new()), ..batch };
        for (number, row) in &rows {
            if row.neg.is_empty() && num_negatives > 0 {
                return Err(bad(format!("row {number} has no negatives where others do: set data.group_size=1")).into());
            }
            // Too few negatives repeat, as in the published trainer.
            let negatives = (0..num_negatives).map(|k| k % row.neg.len());
            let content = |field: &str, text: &str| match tokenizer.encode_content(text) {
                Ok(tokens) if tokens.is_empty() => {
                    Err(anyhow::Error::from(bad(format!("row {number}: its {field} has no token: {text:?}"))))
                }
                content => Ok(content?),
            };
            let framed = |prefix: &[u32], content: &[u32], max_len: usize| {
                TextInput::framed(tokenizer.special(), prefix, content, max_len)
            };
            let query = content("query", &row.query_text())?;
            batch.queries.push(framed(&policy.query_prefix, &query, data.query_max_len));
            batch.text_ids.queries.push(text_id(&query));
            let positives = row.pos.iter().map(|text| Ok(text_id(&content("positive", text)?)));
            batch.text_ids.positives.push(positives.collect::<anyhow::Result<_>>()?);
            for text in std::iter::once(&row.pos[0]).chain(negatives.clone().map(|k| &row.neg[k])) {
                let passage = content("passage", text)?;
                batch.passages.push(framed(&policy.passage_prefix, &passage, data.passage_max_len));
                batch.text_ids.passages.push(text_id(&passage));
            }
            let scores =
                row.pos_scores.clone().zip(row.neg_scores.clone().or_else(|| row.neg.is_empty().then(Vec::new)));
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
    pub fn read_tokens(path: &Path, recipe: &Recipe, special: &SpecialTokens) -> anyhow::Result<Self> {
        let fail = |reason: String| CommandError::Data { path: path.to_owned(), reason };
        let tensors =
            Tensor::read_safetensors(path).map_err(|e| fail(format!("not a readable safetensors file ({e})")))?;
        let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let texts = |which: &str| -> Result<Vec<TextInput>, CommandError> {
            let matrix = |name: String| -> Result<Vec<Vec<i64>>, CommandError> {
                let tensor = tensors.get(&name).ok_or_else(|| fail(format!("has no tensor {name}")))?;
                Vec::try_from(tensor.to_kind(tch::Kind::Int64))
                    .map_err(|_| fail(format!("{name} has shape {:?}: expected [texts, tokens]", tensor.size())))
            };
            let (ids, mask) = (matrix(format!("{which}.input_ids"))?, matrix(format!("{which}.attention_mask"))?);
            let real = |(ids, mask): (Vec<i64>, Vec<i64>)| {
                let ids = ids.into_iter().zip(mask).filter(|(_, m)| *m != 0).map(|(id, _)| id);
                TextInput::new(ids.collect(), special)
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
        let (negatives, two_way) = (recipe.data.negatives, recipe.data.two_way);
        Ok(Self { queries, passages, text_ids, teacher_scores, negatives, two_way })
    }

    /// One rank's queries, those of `share`, and their passages.
    pub fn share(&self, share: Range<usize>) -> Share {
        let group_size = self.passages.len() / self.queries.len();
        let passages = share.start * group_size..share.end * group_size;
        Share {
            step: 0,
            row_keys: share.clone().map(|row| row as u64).collect(),
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
            negatives: self.negatives,
            two_way: self.two_way,
        }
    }
}

/// The rows that training accepts, with their numbers in the file, from 1. Reports the number of the others.
fn leave_out_few(rows: Vec<Row>, policy: &Policy, ranks: &dyn Collective) -> Vec<(usize, Row)> {
    let all = rows.len();
    let mut rows: Vec<(usize, Row)> = (1..).zip(rows).collect();
    let (FewNegatives::Reject, GroupSize::Fixed(size)) = (policy.few_negatives, policy.group_size) else { return rows };
    rows.retain(|(_, row)| row.neg.len() + 1 >= size);
    if rows.len() < all && ranks.rank() == 0 {
        let rejected = all - rows.len();
        tracing::warn!(
            "{rejected} of {all} rows have fewer than {} negatives and are left out (few_negatives)",
            size - 1
        );
    }
    rows
}

/// The rows' `type`: one, as a data set has.
fn kind_of(rows: &[Row]) -> Result<Option<&str>, String> {
    let mut kinds = rows.iter().filter_map(|row| row.kind.as_deref());
    let first = kinds.next();
    match kinds.find(|other| Some(*other) != first) {
        Some(other) => Err(format!(
            "rows have the types {:?} and {other:?}: split the file, a data set has one type",
            first.unwrap_or_default()
        )),
        None => Ok(first),
    }
}

/// The data set whose settings the rows take: the one asked for, or the one that `tercet prepare` would name after the
/// file.
fn name_of(path: &Path, asked: Option<&str>, recipe: &Recipe) -> Result<String, CommandError> {
    let Some(name) = asked else {
        let unpacked = unpacked_name(path);
        let name = unpacked.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".jsonl").or_else(|| name.strip_suffix(".json"));
        return Ok(stem.map_or_else(|| name.clone(), str::to_owned));
    };
    let sets = &recipe.data.sets;
    if sets.iter().any(|set| set.name == name) {
        return Ok(name.to_owned());
    }
    let known: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(CommandError::Usage(format!("--dataset {name}: the recipe's data.sets has {known}")))
}
