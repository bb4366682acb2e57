//! The sources of batches: data sets, and small data sets that are merged.

use std::fmt;

use tercet_configs::{DataSection, LossPreset, Recipe, Teacher};

use super::PlanError;
use super::mixture::Draw;
use super::policy::{Policy, policy, setting};
use super::prefix::Prefixes;
use crate::{DatasetMeta, Holds, Store};

/// One data set, or several small ones with the same settings. A batch comes from one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The data set's name, or the joined names of merged ones.
    pub name: String,
    /// The data sets, as indices in the store.
    pub datasets: Vec<usize>,
    /// How the rows become batches.
    pub policy: Policy,
    /// Whether every text of every row has a teacher score.
    pub has_scores: bool,
}

/// The sources of a run, and notes on how they came about.
pub(super) struct Sources {
    pub(super) sources: Vec<Source>,
    /// What was merged and left out, with numbers.
    pub(super) notes: Vec<String>,
}

/// The sources of `store`: one for each data set that is not merged or left out, and the merged ones.
pub(super) fn sources(store: &Store, recipe: &Recipe) -> Result<Sources, PlanError> {
    let data = &recipe.data;
    check_names(store, data)?;
    check_holds(store, recipe.loss.preset)?;
    let mut prefixes = Prefixes::new(store, &recipe.model);
    let mut found = Sources { sources: Vec::new(), notes: Vec::new() };
    for i in 0..store.num_datasets() {
        let meta = store.dataset(i);
        let source = Source {
            name: meta.name.clone(),
            datasets: vec![i],
            policy: policy(meta, data, &mut prefixes)?,
            has_scores: meta.has_scores,
        };
        found.add(source, meta.num_ordered() < data.merge_below && !has_own_weight(data, &meta.name), store, data);
    }
    found.describe_merged(store);
    found.drop_small(store, data.drop_below);
    if recipe.loss.teacher != Teacher::None {
        found.check_scores(store)?;
    }
    Ok(found)
}

impl Sources {
    /// Adds a source; a small one is merged into one like it.
    fn add(&mut self, source: Source, small: bool, store: &Store, data: &DataSection) {
        let is_small = |dataset: usize| {
            let meta = store.dataset(dataset);
            meta.num_ordered() < data.merge_below && !has_own_weight(data, &meta.name)
        };
        let alike = |other: &&mut Source| {
            is_small(other.datasets[0])
                && other.policy == source.policy
                && other.has_scores == source.has_scores
                && store.dataset(other.datasets[0]).kind == store.dataset(source.datasets[0]).kind
        };
        match self.sources.iter_mut().filter(|_| small).find(alike) {
            Some(other) => other.datasets.extend(source.datasets),
            None => self.sources.push(source),
        }
    }

    fn describe_merged(&mut self, store: &Store) {
        for source in self.sources.iter_mut().filter(|source| source.datasets.len() > 1) {
            let names: Vec<&str> = source.datasets.iter().map(|&i| store.dataset(i).name.as_str()).collect();
            source.name = names.join("+");
            let rows = num_rows(store, source);
            self.notes.push(format!("{} small data sets are merged, {rows} rows: {}", names.len(), names.join(", ")));
        }
    }

    /// Checks that the teacher's scores are used wherever there are any.
    fn check_scores(&self, store: &Store) -> Result<(), PlanError> {
        for meta in self.sources.iter().flat_map(|source| &source.datasets).map(|&i| store.dataset(i)) {
            let (rows, dataset) = (meta.num_rows, meta.name.clone());
            if let Some(lacking) = meta.num_unscored.filter(|lacking| (1..rows).contains(lacking)) {
                return Err(PlanError::SomeScores { dataset, lacking, rows });
            }
        }
        Ok(())
    }

    fn drop_small(&mut self, store: &Store, drop_below: u64) {
        self.sources.retain(|source| {
            let rows = num_rows(store, source);
            let kept = rows >= drop_below;
            if !kept {
                let name = &source.name;
                self.notes.push(format!(
                    "data set `{name}` is left out: {rows} rows are fewer than data.drop_below {drop_below}"
                ));
            }
            kept
        });
    }
}

/// How often each source is drawn from in each phase: the phase's first step, and a draw for each source.
pub(super) fn phases(sources: &[Source], data: &DataSection) -> Vec<(u64, Vec<Draw>)> {
    let own = |source: &Source| data.sets.iter().find(|set| set.name == source.name);
    let mut draws: Vec<Draw> = (sources.iter().map(own))
        .map(|set| Draw { weight: set.and_then(|set| set.weight).unwrap_or(1.0), share: set.and_then(|set| set.share) })
        .collect();
    let mut phases = vec![(0, draws.clone())];
    for change in &data.changes {
        for (draw, source) in draws.iter_mut().zip(sources) {
            draw.weight = change.weights.get(&source.name).copied().unwrap_or(draw.weight);
        }
        phases.push((change.from_step, draws.clone()));
    }
    phases
}

fn num_rows(store: &Store, source: &Source) -> u64 {
    source.datasets.iter().map(|&dataset| store.dataset(dataset).num_ordered()).sum()
}

/// Whether the recipe sets how often this very data set is drawn from.
fn has_own_weight(data: &DataSection, name: &str) -> bool {
    data.sets.iter().any(|set| set.name == name && (set.weight.is_some() || set.share.is_some()))
        || data.changes.iter().any(|change| change.weights.contains_key(name))
}

/// Checks that every data set is of the kind that the preset trains on.
fn check_holds(store: &Store, preset: LossPreset) -> Result<(), PlanError> {
    let wanted = if preset.is_pretraining() { Holds::Texts } else { Holds::Pairs };
    let mut datasets = store.manifest().datasets.iter();
    match datasets.find(|dataset| dataset.holds != wanted) {
        Some(DatasetMeta { name, holds, .. }) => Err(PlanError::Holds { dataset: name.clone(), holds: *holds }),
        None => Ok(()),
    }
}

/// Checks that every data set that the recipe names exists and is named once.
fn check_names(store: &Store, data: &DataSection) -> Result<(), PlanError> {
    let known = || (0..store.num_datasets()).map(|i| store.dataset(i).name.as_str());
    let in_sets = data.sets.iter().map(|set| ("data.sets", &set.name));
    let in_changes = data.changes.iter().flat_map(|c| c.weights.keys().map(|name| ("data.changes", name)));
    for (key, name) in in_sets.chain(in_changes) {
        if !known().any(|dataset| dataset == name) {
            let known = known().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(PlanError::UnknownDataset { key, name: name.clone(), known });
        }
    }
    for (i, set) in data.sets.iter().enumerate() {
        if data.sets[..i].iter().any(|earlier| earlier.name == set.name) {
            return Err(setting(&set.name, "is listed twice: merge the two entries"));
        }
    }
    Ok(())
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data set `{}`", self.name)
    }
}
