//! Plan and batches of texts alone: which store a preset takes, and what a rank gets.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use tercet_configs::{ExitCode, Recipe};
use tercet_sampler::{
    Batch, GroupSize, Holds, Plan, PlanError, Store, StoreSettings, StoreWriter, TokenRow, deal_batch, read_share,
};

use crate::written_store::{SPECIAL, recipe, store, written};

const DATA: &str = "length_groups = [{ max_len = 20, global_batch = 12 }, { max_len = 64, global_batch = 6 }]";

/// The number of content tokens of a text.
fn content_len(row: usize) -> usize {
    1 + (row * 7) % 50
}

/// Data sets of texts whose first token tells the row.
fn texts(dir: &Path, datasets: &[(&str, usize)]) -> Arc<Store> {
    let settings = StoreSettings {
        tokenizer_hash: "none".to_owned(),
        special: SPECIAL,
        query_max_len: 8,
        passage_max_len: 8,
        text_max_len: 40,
        rows_per_shard: 100,
    };
    let mut writer = StoreWriter::create(&dir.join("texts"), settings).unwrap();
    for (name, num_rows) in datasets {
        let mut dataset = writer.dataset_of(name, Holds::Texts).unwrap();
        for row in 0..*num_rows {
            let rest = 1..content_len(row) as u32;
            let query = std::iter::once(100 + row as u32).chain(rest).collect();
            dataset.push(TokenRow { query, ..TokenRow::default() }).unwrap();
        }
        dataset.finish(None, Vec::new()).unwrap();
    }
    writer.finish().unwrap();
    Arc::new(Store::open(&dir.join("texts")).unwrap())
}

fn pretraining(data: &str, overrides: &[&str]) -> Recipe {
    let overrides: Vec<&str> = ["loss.preset=retromae"].iter().chain(overrides).copied().collect();
    recipe(data, &overrides)
}

fn plan(store: &Arc<Store>, overrides: &[&str]) -> Plan {
    Plan::new(Arc::clone(store), &pretraining(DATA, overrides)).unwrap()
}

fn shares(plan: &Plan, step: u64, world_size: usize) -> Vec<Batch> {
    (0..world_size).map(|rank| read_share(plan, step, rank, world_size).unwrap()).collect()
}

#[test]
fn a_preset_takes_the_rows_that_it_trains_on() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = store(dir.path(), &[written("pairs", 40, 2)]);
    let texts = texts(dir.path(), &[("texts", 40)]);
    let group = "group_size = 2\n";
    let refused = |store: &Arc<Store>, recipe: &Recipe| Plan::new(Arc::clone(store), recipe).unwrap_err();
    for preset in ["retromae", "mlm"] {
        let recipe = recipe(DATA, &[&format!("loss.preset={preset}")]);
        let error = refused(&pairs, &recipe);
        assert!(matches!(&error, PlanError::Holds { dataset, holds: Holds::Pairs } if dataset == "pairs"));
        let message = error.to_string();
        assert!(message.starts_with("data set `pairs` holds rows of queries and passages, but"), "{message}");
        assert!(message.contains("tercet prepare --texts"), "{message}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
        assert!(Plan::new(Arc::clone(&texts), &recipe).is_ok());
    }
    let contrastive = recipe(&format!("{group}{DATA}"), &[]);
    let error = refused(&texts, &contrastive);
    let message = error.to_string();
    assert!(
        message.starts_with("data set `texts` holds texts alone, but the recipe's loss.preset contrasts"),
        "{message}"
    );
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert!(Plan::new(pairs, &contrastive).is_ok());
}

#[test]
fn a_rank_gets_texts_without_passages() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&texts(dir.path(), &[("a", 200), ("b", 90)]), &[]);
    assert_eq!((plan.longest_text(), plan.query_max_len(), plan.passage_max_len()), (64, 8192, 0));
    assert!(plan.sources().iter().all(|source| source.policy.group_size == GroupSize::Fixed(0)));
    for step in 0..40 {
        for world_size in [1, 2, 3] {
            let dealt = deal_batch(&plan, step, world_size).unwrap();
            for (rank, batch) in shares(&plan, step, world_size).iter().enumerate() {
                let share = &batch.share;
                assert_eq!((share.group_size, share.passages().len(), &share.teacher_scores), (0, 0, &None));
                assert_eq!(
                    (share.num_queries * world_size, share.queries().len()),
                    (share.num_global_queries, share.num_queries)
                );
                assert_eq!(
                    (share.row_keys.len(), share.text_ids.queries.len()),
                    (share.num_queries, share.num_queries)
                );
                assert!(share.text_ids.passages.is_empty());
                for (id, text) in batch.origin.row_ids.iter().zip(&share.texts) {
                    let len = content_len(id.row as usize).min(38);
                    assert_eq!((text.ids.len(), text.ids[0], text.ids[1]), (len + 2, 0, 100 + id.row as i64));
                    let group = if text.ids.len() <= 20 { 0 } else { 1 };
                    assert_eq!(batch.origin.length_group, group);
                }
                let lens = dealt.share_lens(&plan, rank).unwrap();
                assert!(lens.queries.iter().copied().eq(share.texts.iter().map(|text| text.ids.len())));
                assert_eq!((lens.passages.len(), lens.num_positives), (0, 0));
            }
        }
    }
}

#[test]
fn texts_are_cut_to_the_recipes_length() {
    let dir = tempfile::tempdir().unwrap();
    let store = texts(dir.path(), &[("a", 200)]);
    let whole = plan(&store, &[]);
    let cut = plan(&store, &["data.text_max_len=9"]);
    assert_eq!((cut.longest_text(), cut.query_max_len()), (9, 9));
    assert_ne!(cut.checksum(10), whole.checksum(10));
    for step in 0..10 {
        let [cut, whole] = [&cut, &whole].map(|plan| shares(plan, step, 1).remove(0).share);
        for (cut, whole) in cut.texts.iter().zip(&whole.texts) {
            let len = whole.ids.len().min(9);
            assert_eq!((cut.ids.len(), &cut.ids[..len - 1]), (len, &whole.ids[..len - 1]));
        }
    }
    // What the store has cut is not there to be had.
    let warned =
        |plan: &Plan| plan.warnings().iter().any(|w| w.contains("text_max_len 40, below data.text_max_len 8192"));
    assert!(warned(&whole) && !warned(&cut), "{:?}", whole.warnings());
}

/// The key of each row of some steps.
fn keys(plan: &Plan, world_size: usize) -> BTreeMap<(u64, usize, u64), u64> {
    let mut keys = BTreeMap::new();
    for step in 0..30 {
        for batch in shares(plan, step, world_size) {
            assert_eq!(batch.share.row_keys.len(), batch.origin.row_ids.len());
            let rows = batch.origin.row_ids.iter().map(|id| (step, id.dataset, id.row));
            keys.extend(rows.zip(batch.share.row_keys));
        }
    }
    keys
}

#[test]
fn a_rows_key_depends_on_seed_step_and_row_and_on_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let of_texts = texts(dir.path(), &[("a", 60), ("b", 60)]);
    let of_pairs = store(dir.path(), &[written("a", 60, 1), written("b", 60, 1)]);
    let pairs =
        |seed: &str| Plan::new(Arc::clone(&of_pairs), &recipe(&format!("group_size = 2\n{DATA}"), &[seed])).unwrap();
    for (first, other) in
        [(plan(&of_texts, &["seed=1"]), plan(&of_texts, &["seed=2"])), (pairs("seed=1"), pairs("seed=2"))]
    {
        let alone = keys(&first, 1);
        for world_size in [2, 3, 6] {
            assert_eq!(keys(&first, world_size), alone);
        }
        // Rows come again in later steps, and two data sets have rows of one number.
        let rows: HashSet<_> = alone.keys().map(|(_, dataset, row)| (dataset, row)).collect();
        assert!(rows.len() < alone.len());
        assert_eq!(alone.values().collect::<HashSet<_>>().len(), alone.len());
        let found: HashSet<_> = alone.values().copied().collect();
        assert!(keys(&other, 1).values().all(|key| !found.contains(key)));
    }
    // Masks of a run that goes on come from it.
    assert_eq!(plan(&of_texts, &["seed=42"]).row_key(3, 1, 7), 5_692_040_548_428_014_586);
}

#[test]
fn a_temperature_evens_out_sets_of_texts() {
    let dir = tempfile::tempdir().unwrap();
    let store = texts(dir.path(), &[("large", 1600), ("small", 100)]);
    let share = |temperature: &str| {
        let plan = plan(&store, &[temperature]);
        let batches = plan.batches_given_by(plan.phases()[0].steps_per_round());
        let mut rows = [0.0; 2];
        for (cell, batches) in plan.cells().iter().zip(batches) {
            rows[cell.source] += (batches * cell.size.global_batch) as f64;
        }
        rows[0] / rows[1]
    };
    assert!((share("data.sampling_temperature=1") - 16.0).abs() < 2.0);
    assert!((share("data.sampling_temperature=2") - 4.0).abs() < 0.5);
}

#[test]
fn texts_are_dealt_by_their_costs() {
    let dir = tempfile::tempdir().unwrap();
    let data = "length_groups = [{ max_len = 64, global_batch = 200 }]";
    let plan = Plan::new(texts(dir.path(), &[("a", 400)]), &pretraining(data, &[])).unwrap();
    let tokens = |rank| deal_batch(&plan, 0, 4).unwrap().share_lens(&plan, rank).unwrap().queries.iter().sum::<usize>();
    let tokens: Vec<usize> = (0..4).map(tokens).collect();
    let (least, most) = (*tokens.iter().min().unwrap(), *tokens.iter().max().unwrap());
    assert!(most - least <= 20, "{tokens:?}");
    assert!(deal_batch(&plan, 0, 4).unwrap().deal.imbalance < 1.01);
}
