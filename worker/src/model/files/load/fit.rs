//! The weights of a model's files and the places that they go to: what does not fit, and what is drawn afresh.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use tch::Tensor;
use tercet_configs::{EncoderConfig, ModelFolder};
use tercet_sampler::SpecialTokens;

use super::positions;
use crate::model::pretraining::is_of_pretraining;
use crate::model::{ModelError, ModelOptions, Parameters, Spec, encoder, head_of};
use crate::ops::generator::seeded;

/// What does not fit: every weight that is missing or of another shape.
pub(super) fn misfits(
    specs: &[Spec],
    weights: &BTreeMap<String, Tensor>,
    config: &EncoderConfig,
    learned_positions: usize,
    folder: &ModelFolder,
) -> Vec<String> {
    // The list is headed by the encoder's file.
    let of_file = |spec: &Spec| head_file(folder, &spec.name).map(|file| format!(", in {}", file.display()));
    let mut problems: Vec<String> = specs
        .iter()
        .filter_map(|spec| match weights.get(&spec.name) {
            Some(found) if found.size() == spec.shape || is_extended(spec, found, learned_positions) => None,
            Some(found) => {
                let place = of_file(spec).unwrap_or_default();
                Some(format!("{}: expected {:?}, found {:?}{place}", spec.name, spec.shape, found.size()))
            }
            None if head_of(&spec.name).is_some() || is_of_pretraining(&spec.name) => None,
            None => Some(format!("{}: expected {:?}, not in the file", spec.name, spec.shape)),
        })
        .collect();
    if !problems.is_empty() && !config.defaults.is_empty() {
        let defaults = config.defaults.join(", ");
        problems.push(format!("config.json lacks keys, for which Hugging Face's defaults stand: {defaults}"));
    }
    problems
}

/// The separate file that a head's weight comes from.
pub(super) fn head_file(folder: &ModelFolder, weight: &str) -> Option<PathBuf> {
    folder.file(&format!("{}.pt", head_of(weight)?))
}

/// Refuses weights that are not finite and would spoil every text. A row of the word embeddings concerns only texts
/// with that token, and shows there, but the row of CLS is part of every text. The pooler is not looked at: nothing is
/// computed with it.
pub(super) fn check_finite(
    parameters: &Parameters,
    special: &SpecialTokens,
    folder: &ModelFolder,
    path: &Path,
) -> Result<(), ModelError> {
    // A sum needs no memory, unlike a test of each number. But finite numbers may have an infinite sum.
    let is_finite = |tensor: &Tensor| {
        tensor.sum(tensor.kind()).double_value(&[]).is_finite() || tensor.isfinite().all().int64_value(&[]) != 0
    };
    let _guard = tch::no_grad_guard();
    let is_bad = |spec: &&Spec| {
        let leaf = parameters.leaf(&spec.name);
        match spec.name.as_str() {
            name if name.starts_with("pooler.") => false,
            name if name == encoder::EMBEDDING_TABLES[0] => {
                let cls = i64::from(special.cls);
                cls < leaf.size()[0] && !is_finite(&leaf.get(cls))
            }
            _ => !is_finite(&leaf),
        }
    };
    let Some(bad) = parameters.specs().iter().find(is_bad) else { return Ok(()) };
    let path = head_file(folder, &bad.name).unwrap_or_else(|| path.to_owned());
    let reason =
        format!("{} holds numbers that are not finite (NaN or infinity): fetch or make the model again", bad.name);
    Err(ModelError::File { path, reason })
}

/// Copies the files' weights into place; returns the names that were drawn afresh.
pub(super) fn fill(
    parameters: &mut Parameters,
    weights: &BTreeMap<String, Tensor>,
    config: &EncoderConfig,
    options: &ModelOptions,
) -> Vec<String> {
    let _guard = tch::no_grad_guard();
    let (mut fresh, mut extended) = (Vec::new(), None);
    for spec in parameters.specs() {
        let mut target = parameters.leaf(&spec.name);
        match weights.get(&spec.name) {
            Some(found) if found.size() == spec.shape => target.copy_(found),
            Some(found) => extended = Some((target, found)),
            None => fresh.push(spec.name.clone()),
        }
    }
    let names: HashSet<&String> = fresh.iter().collect();
    seeded(options.seed, || {
        parameters.initialise(|name| names.contains(&name.to_owned()));
        // Last, so that no weight's start depends on whether positions are drawn.
        if let Some((mut target, found)) = extended {
            target.copy_(&positions::extend(found, config, options).to_kind(target.kind()));
        }
    });
    parameters.refresh();
    fresh
}

fn is_extended(spec: &Spec, found: &Tensor, learned_positions: usize) -> bool {
    spec.name == encoder::EMBEDDING_TABLES[1]
        && found.size() == [learned_positions as i64, spec.shape[1]]
        && spec.shape[0] > found.size()[0]
}
