//! What the recipe and the rows' `type` ask of each data set, and what is said when they do not fit.

#![allow(clippy::unwrap_used)]

mod written_store;

use std::sync::Arc;

use tercet_configs::{ExitCode, Negatives};
use tercet_sampler::{Plan, PlanError, Prefetcher, read_share};
use written_store::{Written, plan, recipe, store, written};

const GROUPS: &str = "length_groups = [{ max_len = 64, global_batch = 8 }]\n";

fn group_size(set: Written, data: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[set]), &format!("{GROUPS}{data}")).unwrap();
    let batch = read_share(&plan, 0, 0, 2).unwrap();
    assert_eq!(batch.passages.len(), batch.queries.len() * batch.group_size);
    batch.group_size
}

fn error(sets: &[Written], data: &str) -> PlanError {
    let dir = tempfile::tempdir().unwrap();
    plan(&store(dir.path(), sets), data).unwrap_err()
}

#[test]
fn the_type_of_rows_sets_the_group_size() {
    let typed = |kind| Written { kind: Some(kind), ..written("a", 20, 3) };
    assert_eq!(group_size(written("a", 20, 3), "group_size = 6"), 6);
    assert_eq!(group_size(typed("normal"), "group_size = 6"), 6);
    assert_eq!(group_size(typed("only_1neg"), "group_size = 6"), 2);
    assert_eq!(group_size(typed("symmetric_class"), "group_size = 6"), 4);
    assert_eq!(group_size(typed("symmetric_class"), "group_size = 3"), 3);
}

#[test]
fn in_batch_negatives_read_positives_only() {
    assert_eq!(group_size(written("a", 20, 3), "negatives = \"in_batch\""), 1);
    assert_eq!(group_size(written("a", 20, 0), "negatives = \"in_batch\""), 1);
}

#[test]
fn a_data_sets_own_settings_win() {
    let dir = tempfile::tempdir().unwrap();
    let data = format!(
        "{GROUPS}group_size = 3\n[[data.sets]]\nname = \"b\"\nnegatives = \"own\"\ngroup_size = 2\n\
         [[data.sets]]\nname = \"c\"\nnegatives = \"in_batch\"\ntwo_way = true"
    );
    let plan = plan(&store(dir.path(), &[written("a", 9, 2), written("b", 9, 2), written("c", 9, 0)]), &data).unwrap();
    assert_eq!(plan.steps_per_epoch(), 3);
    for step in 0..3 {
        let batch = read_share(&plan, step, 0, 1).unwrap();
        let expected = match batch.dataset.as_str() {
            "a" => (3, Negatives::All, false),
            "b" => (2, Negatives::Own, false),
            _ => (1, Negatives::InBatch, true),
        };
        assert_eq!((batch.group_size, batch.negatives, batch.two_way), expected, "{}", batch.dataset);
    }
}

#[test]
fn settings_that_make_no_batch_are_refused() {
    for (settings, expected) in [
        ("name = \"z\"", "no data set `z`; it has `a`, `b`"),
        ("name = \"a\"\n[[data.sets]]\nname = \"a\"", "listed twice"),
        ("name = \"a\"\ngroup_size = 0", "group_size is 0"),
        ("name = \"a\"\ngroup_size = 1\nnegatives = \"own\"", "nothing to contrast"),
        ("name = \"a\"\ntwo_way = true\nnegatives = \"own\"", "needs in-batch negatives"),
    ] {
        let data = format!("{GROUPS}group_size = 2\n[[data.sets]]\n{settings}");
        let error = error(&[written("a", 9, 2), written("b", 9, 2)], &data);
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
    let error = error(&[written("a", 9, 2)], "");
    assert!(error.to_string().contains("data.length_groups is empty"), "{error}");
}

#[test]
fn rows_without_negatives_are_named_before_the_run_starts() {
    let error = error(&[written("pairs", 9, 0)], &format!("{GROUPS}group_size = 8"));
    let message = error.to_string();
    assert!(message.contains("data set `pairs`, row ") && message.contains("group_size 8 asks for 7"), "{message}");
    assert_eq!(error.exit_code(), ExitCode::Data);
}

#[test]
fn a_batch_that_ranks_cannot_share_names_the_nearest_that_they_can() {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[written("a", 20, 7)]), GROUPS).unwrap();
    for world_size in [1, 2, 4, 8] {
        plan.check_world(world_size).unwrap();
    }
    let message = |world_size| plan.check_world(world_size).unwrap_err().to_string();
    assert!(message(3).contains("up to 64 tokens has global_batch 8") && message(3).contains("use 6 or 9"));
    assert!(message(16).contains("16 ranks cannot share equally: use 16,"), "{}", message(16));
}

#[test]
fn what_is_left_out_is_said_with_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[written("large", 100, 7), written("small", 7, 7)]);
    let data = "length_groups = [{ max_len = 60, global_batch = 8 }]";
    let mut recipe = recipe(data, &[]);
    recipe.loss.teacher = tercet_configs::Teacher::KlDiv;
    let plan = Plan::new(store.clone(), &recipe).unwrap();
    assert!(plan.cells().iter().all(|cell| cell.dataset == 0));
    let warnings = plan.warnings().join("\n");
    let too_small = store.num_rows_up_to(1, 60);
    let too_long = 100 - store.num_rows_up_to(0, 60);
    assert!(too_small > 0 && too_long > 0);
    for expected in [
        format!("data set `small`, 1-60 tokens: {too_small} rows for a global batch of 8; they are left out"),
        format!("data set `large`: {too_long} of 100 rows have more than 60 tokens; they are left out"),
        "data set `large` has no teacher scores".to_owned(),
    ] {
        assert!(warnings.contains(&expected), "{expected}\nnot in\n{warnings}");
    }
}

#[test]
fn nothing_to_train_on_says_what_there_is() {
    let error = error(&[written("a", 7, 7)], "length_groups = [{ max_len = 64, global_batch = 800 }]");
    let message = error.to_string();
    assert!(message.contains("`a`, 1-64 tokens: 7 rows for a global batch of 800"), "{message}");
}

#[test]
fn a_single_row_without_negatives_ends_every_rank_in_the_same_step() {
    let dir = tempfile::tempdir().unwrap();
    let set = Written { bare_row: Some(40), ..written("a", 64, 7) };
    let plan = Arc::new(plan(&store(dir.path(), &[set]), GROUPS).unwrap());
    let ends = |rank: usize| {
        let batches: Vec<_> = Prefetcher::start(Arc::clone(&plan), rank, 4, 0..100).unwrap().collect();
        let message = batches.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(message.contains("data set `a`, row 40: has no negatives"), "{message}");
        batches.len()
    };
    assert!(ends(0) <= 8);
    assert!((1..4).all(|rank| ends(rank) == ends(0)));
}
