//! Plan and batches over a store on disk: every world size gets the same rows, with the right tokens.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::written_store::{SPECIAL, Written, content_len, marker, plan, recipe, score, store, written};
use tercet_sampler::{Batch, Plan, Prefetcher, RowId, TextInput, read_share, text_id};

const DATA: &str = "
group_size = 4
shuffle_ratio = 0.0
length_groups = [{ max_len = 56, global_batch = 24 }, { max_len = 64, global_batch = 12 }]";

fn share(plan: &Plan, step: u64, rank: usize, world_size: usize) -> Batch {
    read_share(plan, step, rank, world_size).unwrap()
}

/// The number of steps in one pass over the data.
fn epoch_steps(plan: &Plan) -> u64 {
    plan.phases()[0].steps_per_round()
}

/// The row and text that a framed text is.
fn source(framed: &TextInput) -> (usize, usize) {
    let mark = framed.ids[1] as usize - 100;
    (mark / 20, mark % 20)
}

fn ids(framed: &TextInput) -> Vec<i64> {
    framed.ids.clone()
}

#[test]
fn plans_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Plan>();
}

#[test]
fn every_world_size_sees_the_same_global_batches() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[written("a", 230, 5), written("b", 90, 3)]), DATA).unwrap();
    for step in 0..2 * epoch_steps(&plan) + 1 {
        let global = plan.global_batch(step);
        for world_size in [1, 2, 3, 4, 6, 12] {
            let shares: Vec<Batch> = (0..world_size).map(|rank| share(&plan, step, rank, world_size)).collect();
            let mut rows: Vec<RowId> = shares.iter().flat_map(|batch| batch.origin.row_ids.clone()).collect();
            rows.sort_unstable();
            let row = |&(dataset, position)| RowId { dataset, row: plan.store().entry(dataset, position).unwrap().0 };
            let mut expected: Vec<RowId> = global.positions.iter().map(row).collect();
            expected.sort_unstable();
            assert_eq!(rows, expected, "step {step}, {world_size} ranks");
            for batch in &shares {
                assert_eq!(batch.origin.row_ids.len() * world_size, batch.share.num_global_queries);
                assert_eq!((batch.share.step, batch.origin.epoch), (step, step / epoch_steps(&plan)));
                assert_eq!(
                    (batch.origin.imbalance, &batch.origin.dataset),
                    (shares[0].origin.imbalance, &shares[0].origin.dataset)
                );
            }
        }
    }
}

#[test]
fn a_row_is_read_alike_by_every_world_size() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[written("a", 230, 5)]), DATA).unwrap();
    let by_row = |world_size: usize| {
        let mut rows = Vec::new();
        for batch in (0..world_size).map(|rank| share(&plan, 3, rank, world_size)) {
            for (i, &row) in batch.origin.row_ids.iter().enumerate() {
                let (query, passages) = (&batch.share.queries()[i], &batch.share.passages()[i * 4..(i + 1) * 4]);
                rows.push((row, ids(query), passages.iter().map(ids).collect::<Vec<_>>()));
            }
        }
        rows.sort();
        rows
    };
    assert_eq!(by_row(1), by_row(2));
    assert_eq!(by_row(1), by_row(6));
}

#[test]
fn an_epoch_reads_every_row_once_but_for_the_remainders() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[written("a", 230, 5), written("b", 90, 3)]), DATA).unwrap();
    for epoch in 0..3 {
        let steps = epoch * epoch_steps(&plan)..(epoch + 1) * epoch_steps(&plan);
        let mut seen = BTreeSet::new();
        let mut num_rows = 0;
        for step in steps {
            let batch = share(&plan, step, 0, 1);
            num_rows += batch.origin.row_ids.len() as u64;
            seen.extend(batch.origin.row_ids.into_iter().map(|row| (batch.origin.dataset.clone(), row)));
        }
        assert_eq!(seen.len() as u64, num_rows);
        let expected: u64 = plan.cells().iter().map(|cell| cell.size.batches_per_pass() * cell.size.global_batch).sum();
        assert_eq!(num_rows, expected);
    }
}

#[test]
fn texts_are_framed_and_belong_to_their_row_and_length_group() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[written("a", 230, 5)]), DATA).unwrap();
    for step in 0..epoch_steps(&plan) {
        let batch = share(&plan, step, 1, 2);
        assert_eq!((batch.share.group_size, batch.share.passages().len()), (4, batch.share.queries().len() * 4));
        for (i, &row) in batch.origin.row_ids.iter().enumerate() {
            let row = row.row as usize;
            assert_eq!(source(&batch.share.queries()[i]), (row, 0));
            let longest = (0..8).map(|text| content_len(row, text) + 2).max().unwrap();
            assert_eq!(batch.origin.length_group, usize::from(longest > 56), "row {row} of {longest} tokens");

            let texts: Vec<usize> = batch.share.passages()[i * 4..(i + 1) * 4].iter().map(|p| source(p).1).collect();
            assert!(batch.share.passages()[i * 4..(i + 1) * 4].iter().all(|p| source(p).0 == row));
            assert!((1..3).contains(&texts[0]), "the positive comes first: {texts:?}");
            assert!(texts[1..].iter().all(|text| (3..8).contains(text)), "{texts:?}");
            assert_eq!(texts[1..].iter().collect::<BTreeSet<_>>().len(), 3, "{texts:?}");
        }
        for framed in &batch.share.texts {
            let ((row, text), framed) = (source(framed), &framed.ids);
            assert_eq!(framed.len(), content_len(row, text) + 2);
            assert_eq!((framed[0], framed[framed.len() - 1]), (i64::from(SPECIAL.cls), i64::from(SPECIAL.eos)));
        }
    }
}

#[test]
fn texts_are_cut_to_the_recipes_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!("query_max_len = 5\npassage_max_len = 9\n{DATA}");
    let batch = share(&plan(&store(dir.path(), &[written("a", 50, 5)]), &data).unwrap(), 0, 0, 1);
    assert_eq!(batch.share.queries().iter().map(|text| text.ids.len()).max(), Some(5));
    assert_eq!(batch.share.passages().iter().map(|text| text.ids.len()).max(), Some(9));
    assert!(batch.share.texts.iter().all(|text| text.ids.last() == Some(&i64::from(SPECIAL.eos))));
}

#[test]
fn choices_change_from_epoch_to_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[written("a", 230, 5)]), DATA).unwrap();
    let texts_of_row_0 = |epoch: u64| {
        let steps = epoch * epoch_steps(&plan)..(epoch + 1) * epoch_steps(&plan);
        let mut batches = steps.map(|step| share(&plan, step, 0, 1));
        batches.find_map(|batch| {
            let i = batch.origin.row_ids.iter().position(|id| id.row == 0)?;
            Some(batch.share.passages()[i * 4..(i + 1) * 4].iter().map(ids).collect::<Vec<_>>())
        })
    };
    let different: BTreeSet<_> = (0..8).filter_map(texts_of_row_0).collect();
    assert!(different.len() > 3, "{different:?}");
}

#[test]
fn shuffled_positives_keep_their_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[written("a", 230, 5)]);
    let plain = plan(&store, DATA).unwrap();
    let shuffled = plan(&store, &DATA.replace("shuffle_ratio = 0.0", "shuffle_ratio = 1.0")).unwrap();
    let (plain, shuffled) = (share(&plain, 0, 0, 1), share(&shuffled, 0, 0, 1));
    assert_eq!(plain.origin.row_ids, shuffled.origin.row_ids);
    let mut num_changed = 0;
    for (i, (before, after)) in plain.share.passages().iter().zip(shuffled.share.passages()).enumerate() {
        let (before, after) = (&before.ids, &after.ids);
        let sorted = |text: &[i64]| {
            let mut tokens = text.to_vec();
            tokens.sort_unstable();
            tokens
        };
        assert_eq!(sorted(before), sorted(after));
        let may_change = i % 4 == 0 && before.len() > 32 + 2;
        assert!(before == after || may_change, "passage {i}");
        num_changed += usize::from(before != after);
    }
    assert!(num_changed > 0);
}

#[test]
fn teacher_scores_stand_beside_their_passages() {
    let dir = tempfile::tempdir().unwrap();
    let scored = Written { scores: true, ..written("a", 60, 5) };
    let store = store(dir.path(), &[scored]);
    let batch = share(&plan(&store, DATA).unwrap(), 0, 1, 2);
    let expected: Vec<f32> = batch.share.passages().iter().map(source).map(|(row, text)| score(row, text)).collect();
    assert_eq!(batch.share.teacher_scores, Some(expected));
    let first = &batch.share.passages()[0];
    assert_eq!(first.ids[1], i64::from(marker(batch.origin.row_ids[0].row as usize, source(first).1)));
}

/// Identities are those of the stored texts, before cutting and shuffling.
#[test]
fn texts_are_identified_as_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[written("a", 230, 5)]);
    let short = DATA.replace("shuffle_ratio = 0.0", "shuffle_ratio = 1.0\npassage_max_len = 20");
    let [plain, changed] = [DATA, &short].map(|data| share(&plan(&store, data).unwrap(), 0, 0, 1));
    assert_ne!(plain.share.passages(), changed.share.passages());
    assert_eq!(plain.share.text_ids, changed.share.text_ids);
    for (i, row) in plain.origin.row_ids.iter().map(|id| id.row).enumerate() {
        let stored = store.row(0, row).unwrap();
        assert_eq!(plain.share.text_ids.queries[i], text_id(stored.query()));
        assert_eq!(plain.share.text_ids.positives[i], [text_id(stored.pos(0)), text_id(stored.pos(1))]);
        for place in 4 * i..4 * i + 4 {
            let (of, text) = source(&plain.share.passages()[place]);
            let tokens = if text < 3 { stored.pos(text - 1) } else { stored.neg(text - 3) };
            assert_eq!((of as u64, plain.share.text_ids.passages[place]), (row, text_id(tokens)));
        }
    }
}

#[test]
fn prefetched_batches_are_the_read_ones() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Arc::new(plan(&store(dir.path(), &[written("a", 230, 5)]), DATA).unwrap());
    let mut prefetcher = Prefetcher::start(Arc::clone(&plan), 1, 2, 3..9).unwrap();
    for step in 3..9 {
        assert_eq!(prefetcher.next().unwrap().unwrap(), share(&plan, step, 1, 2));
        assert!((0.0..60.0).contains(&prefetcher.wait_secs()));
    }
    assert!(prefetcher.next().is_none() && prefetcher.next().is_none());
    drop(prefetcher);

    // Dropping it while its thread waits to hand over the next batch must return and free the plan.
    drop(Prefetcher::start(Arc::clone(&plan), 0, 2, 0..u64::MAX).unwrap());
    assert_eq!(Arc::strong_count(&plan), 1);
}

#[test]
fn the_checksum_tells_plans_apart() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[written("a", 230, 5)]);
    let checksum = |overrides: &[&str]| Plan::new(Arc::clone(&store), &recipe(DATA, overrides)).unwrap().checksum(10);
    let same = checksum(&[]);
    assert_eq!(same, checksum(&["loss.temperature=0.5"]));
    for setting in ["seed=1", "data.group_size=3", "data.passage_max_len=60", "data.shuffle_ratio=0.5"] {
        assert_ne!(same, checksum(&[setting]), "{setting}");
    }
    // A change that begins after these steps does not count.
    let change = |from_step: u64| format!("data.changes=[{{ from_step = {from_step}, weights = {{ a = 2.0 }} }}]");
    assert_eq!(same, checksum(&[&change(10)]));
    assert_ne!(same, checksum(&[&change(9)]));
}

#[test]
fn a_data_set_added_later_changes_no_step_before() {
    let dir = tempfile::tempdir().unwrap();
    let before = plan(&store(&dir.path().join("1"), &[written("a", 230, 5)]), DATA).unwrap();
    let both = store(&dir.path().join("2"), &[written("new", 90, 5), written("a", 230, 5)]);
    let joins = "[[data.sets]]\nname = \"new\"\nweight = 0\n[[data.changes]]\nfrom_step = 7\nweights = { new = 1.0 }\n";
    let after = plan(&both, &format!("{DATA}\n{joins}")).unwrap();
    assert_eq!(before.checksum(7), after.checksum(7));
    assert_ne!(before.checksum(8), after.checksum(8));
    for step in 0..7 {
        let (a, b) = (share(&before, step, 1, 2), share(&after, step, 1, 2));
        assert_eq!(a.share.texts, b.share.texts);
    }
    assert!((7..20).any(|step| share(&after, step, 0, 2).origin.dataset == "new"));
    // Without a weight of 0 it would be drawn from since the start.
    assert_ne!(before.checksum(7), plan(&both, DATA).unwrap().checksum(7));
}
