//! The texts that `step` is given for pre-training: token ids with what is hidden of them, read whole by every rank.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use tch::{Kind, Tensor};
use tercet_sampler::{Share, TextInput};

use crate::files::CommandError;
use crate::model::pretraining::{DecoderRow, HiddenPlaces};
use crate::step::pretraining::masks::GivenMasks;

/// The label of what is not predicted.
const NOT_PREDICTED: i64 = -100;

/// A whole batch before it is dealt.
#[derive(Debug, Default)]
pub(super) struct GivenTexts {
    /// The texts as they are.
    pub texts: Vec<TextInput>,
    /// What is hidden of them.
    pub masks: GivenMasks,
}

/// Tensors by name.
struct Tensors<'a> {
    path: &'a Path,
    named: HashMap<String, Tensor>,
}

impl GivenTexts {
    /// Reads a safetensors file; int64 throughout, B texts, L tokens of the longest, S mask sets, padded on the right:
    ///
    /// - `enc.input_ids`, `enc.attention_mask`, `enc.labels` [B, L]: what the encoder reads, and what it predicts
    ///   (−100: nothing);
    /// - with a decoder `dec.input_ids`, `dec.labels` [B, L] of the text itself, `dec.sets` [B, S, L] (1: a place is
    ///   hidden) of which text b has `dec.num_sets[b]`, and `dec.row_set` [B, L]: the set of each row.
    pub fn read(path: &Path, with_decoder: bool) -> Result<Self, CommandError> {
        let tensors = Tensors::read(path)?;
        let (ids, mask) = (tensors.matrix("enc.input_ids")?, tensors.matrix("enc.attention_mask")?);
        let labels = tensors.matrix("enc.labels")?;
        let lens: Vec<usize> = mask.iter().map(|row| row.iter().filter(|&&real| real != 0).count()).collect();
        let mut given = Self::default();
        for ((ids, labels), &len) in ids.iter().zip(&labels).zip(&lens) {
            given.masks.words.inputs.push(text(&ids[..len]));
            given.masks.words.labels.push(predicted(&labels[..len]));
        }
        if !with_decoder {
            let own = given.masks.words.inputs.iter().zip(&given.masks.words.labels).map(|(input, labels)| {
                let mut ids = input.ids.clone();
                labels.iter().for_each(|&(place, label)| ids[place] = label);
                text(&ids)
            });
            given.texts = own.collect();
            return Ok(given);
        }
        let (own, labels) = (tensors.matrix("dec.input_ids")?, tensors.matrix("dec.labels")?);
        let (row_set, num_sets) = (tensors.matrix("dec.row_set")?, tensors.list("dec.num_sets")?);
        let sets = tensors.get("dec.sets")?;
        if sets.size() != [ids.len() as i64, sets.size().get(1).copied().unwrap_or(0), ids[0].len() as i64] {
            return Err(tensors.wrong(format!("dec.sets has shape {:?}: expected [texts, sets, tokens]", sets.size())));
        }
        for (b, &len) in lens.iter().enumerate() {
            let of_text = sets.get(b as i64).narrow(0, 0, num_sets[b]).narrow(1, 0, len as i64);
            let hidden = Vec::<i64>::try_from(of_text.reshape(-1)).map_err(|e| tensors.wrong(e.to_string()))?;
            let row = |(place, label): (usize, i64)| match usize::try_from(row_set[b][place]) {
                Ok(set) if (set as i64) < num_sets[b] => Ok(DecoderRow { place, label, set }),
                _ => Err(tensors.wrong(format!("dec.row_set: text {b} has no set for place {place}"))),
            };
            given.masks.places.push(HiddenPlaces {
                rows: predicted(&labels[b][..len]).into_iter().map(row).collect::<Result<_, _>>()?,
                sets: hidden.into_iter().map(|hidden| hidden != 0).collect(),
            });
            given.texts.push(text(&own[b][..len]));
        }
        Ok(given)
    }

    /// One rank's texts, those of `share`.
    pub fn share(&self, share: Range<usize>) -> Share {
        Share {
            row_keys: share.clone().map(|text| text as u64).collect(),
            num_queries: share.len(),
            num_global_queries: self.texts.len(),
            texts: self.texts[share].to_vec(),
            ..Share::default()
        }
    }
}

fn text(ids: &[i64]) -> TextInput {
    TextInput::of_tokens(ids.to_vec())
}

/// The places with a label.
fn predicted(labels: &[i64]) -> Vec<(usize, i64)> {
    labels.iter().copied().enumerate().filter(|(_, label)| *label != NOT_PREDICTED).collect()
}

impl<'a> Tensors<'a> {
    fn read(path: &'a Path) -> Result<Self, CommandError> {
        let named = Tensor::read_safetensors(path).map_err(|e| CommandError::Data {
            path: path.to_owned(),
            reason: format!("not a readable safetensors file ({e})"),
        })?;
        Ok(Self { path, named: named.into_iter().collect() })
    }

    fn wrong(&self, reason: String) -> CommandError {
        CommandError::Data { path: self.path.to_owned(), reason }
    }

    fn get(&self, name: &str) -> Result<Tensor, CommandError> {
        let tensor = self.named.get(name).ok_or_else(|| self.wrong(format!("has no tensor {name}")))?;
        Ok(tensor.to_kind(Kind::Int64))
    }

    fn list(&self, name: &str) -> Result<Vec<i64>, CommandError> {
        let tensor = self.get(name)?;
        let texts = self.get("enc.input_ids")?.size()[0];
        match tensor.size() == [texts] {
            true => Vec::try_from(&tensor).map_err(|e: tch::TchError| self.wrong(e.to_string())),
            false => Err(self.wrong(format!("{name} has shape {:?}: expected [{texts}]", tensor.size()))),
        }
    }

    /// [B, L], as `enc.input_ids` has it.
    fn matrix(&self, name: &str) -> Result<Vec<Vec<i64>>, CommandError> {
        let (tensor, shape) = (self.get(name)?, self.get("enc.input_ids")?.size());
        if shape.len() != 2 || shape.contains(&0) || tensor.size() != shape {
            let reason = format!("{name} has shape {:?}: expected [texts, tokens], as enc.input_ids", tensor.size());
            return Err(self.wrong(reason));
        }
        Vec::try_from(&tensor).map_err(|e: tch::TchError| self.wrong(e.to_string()))
    }
}
