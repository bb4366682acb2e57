//! What a user should know about a plan, although the run goes on.

use tercet_configs::{Negatives, Recipe, Teacher};

use super::cells::Survey;
use super::policy::GroupSize;
use super::source::Source;
use crate::Store;

/// Everything that the recipe asks for and the store's rows lack, with numbers and remedies; `notes` come first.
pub(super) fn warnings(
    store: &Store,
    recipe: &Recipe,
    sources: &[Source],
    notes: &[String],
    survey: &Survey,
) -> Vec<String> {
    let too_small = survey.too_small.iter().map(|found| {
        format!("{found}; they are left out: lower the group's global_batch, or join it with its neighbour")
    });
    let too_long =
        survey.too_long.iter().map(|found| format!("{found}; they are left out: add a length group for them"));
    let rejected = survey.rejected.iter().map(|found| format!("{found}; they are left out (few_negatives)"));
    let left_out = too_small.chain(too_long).chain(rejected);
    let settings = texts_cut(store, recipe).into_iter().chain(teacherless(recipe, sources)).chain(alone(sources));
    notes.iter().cloned().chain(left_out).chain(settings).collect()
}

/// The first few of a list, so that it stays readable.
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
    let lens = match manifest.text_max_len {
        Some(stored) => vec![("text", stored, data.text_max_len)],
        None => vec![
            ("query", manifest.query_max_len, data.query_max_len),
            ("passage", manifest.passage_max_len, data.passage_max_len),
        ],
    };
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

fn teacherless(recipe: &Recipe, sources: &[Source]) -> Vec<String> {
    if recipe.loss.teacher == Teacher::None {
        return Vec::new();
    }
    let without = sources.iter().filter(|source| !source.has_scores);
    let words = "has no teacher scores (of all of a row's texts: pos_scores and neg_scores)";
    without.map(|source| format!("{source} {words}: its batches train without loss.teacher")).collect()
}

/// Sources whose batches of one row have nothing to contrast with.
fn alone(sources: &[Source]) -> impl Iterator<Item = String> {
    let no_loss = |source: &&Source| {
        let alone = source.policy.length_groups.iter().any(|group| group.global_batch == 1);
        alone && matches!(source.policy.group_size, GroupSize::Fixed(1))
    };
    sources.iter().filter(no_loss).map(|source| {
        let because = match source.policy.negatives {
            Negatives::InBatch => "negatives = \"in_batch\"",
            _ => "group_size 1",
        };
        format!("{source}: a global batch of 1 row with {because} has no negatives, so its loss is 0")
    })
}
