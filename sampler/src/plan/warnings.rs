//! What a user should know about a plan though the run goes on.

use tercet_configs::{Recipe, Teacher};

use super::cells::Survey;
use crate::Store;

/// Everything that the recipe asks for and the store's rows do not give, with numbers and remedies.
pub(super) fn warnings(store: &Store, recipe: &Recipe, survey: &Survey) -> Vec<String> {
    let too_small = survey.too_small.iter().map(|found| {
        format!("{found}; they are left out: lower the group's global_batch, or join it with its neighbour")
    });
    let too_long =
        survey.too_long.iter().map(|found| format!("{found}; they are left out: add a length group for them"));
    too_small.chain(too_long).chain(texts_cut(store, recipe)).chain(teacherless(store, recipe)).collect()
}

/// A list that stays readable.
pub(super) fn first_few(found: &[String]) -> String {
    const FEW: usize = 5;
    match found.len() {
        0 => "the store has no rows".to_owned(),
        n if n <= FEW => found.join("; "),
        n => format!("{}; and {} more such", found[..FEW].join("; "), n - FEW),
    }
}

fn texts_cut(store: &Store, recipe: &Recipe) -> Vec<String> {
    let (manifest, data) = (store.manifest(), &recipe.data);
    let cut: u64 = manifest.datasets.iter().map(|dataset| dataset.num_texts_cut).sum();
    let lens = [
        ("query", manifest.query_max_len, data.query_max_len),
        ("passage", manifest.passage_max_len, data.passage_max_len),
    ];
    lens.into_iter()
        .filter(|&(_, stored, asked)| cut > 0 && stored < asked)
        .map(|(text, stored, asked)| {
            format!(
                "the store was prepared with {text}_max_len {stored}, below data.{text}_max_len {asked}, and {cut} \
                 texts were cut then: prepare it again to train on more of them"
            )
        })
        .collect()
}

fn teacherless(store: &Store, recipe: &Recipe) -> Vec<String> {
    if recipe.loss.teacher == Teacher::None {
        return Vec::new();
    }
    let without = store.manifest().datasets.iter().filter(|dataset| !dataset.has_scores);
    without
        .map(|dataset| {
            format!("data set `{}` has no teacher scores: its batches train without loss.teacher", dataset.name)
        })
        .collect()
}
