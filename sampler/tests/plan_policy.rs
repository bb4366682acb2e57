//! What the recipe and the rows' `type` ask of each data set, and the messages when they do not fit.

#![allow(clippy::unwrap_used)]

use crate::written_store::{Written, plan, recipe, store, written};
use tercet_configs::{ExitCode, Negatives};
use tercet_sampler::{Batch, Plan, PlanError, read_share};

const GROUPS: &str = "length_groups = [{ max_len = 64, global_batch = 8 }]\n";

fn group_size(set: Written, data: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(&store(dir.path(), &[set]), &format!("{GROUPS}{data}")).unwrap();
    let share = read_share(&plan, 0, 0, 2).unwrap().share;
    assert_eq!(share.passages().len(), share.queries().len() * share.group_size);
    share.group_size
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
    assert_eq!(plan.phases()[0].steps_per_round(), 3);
    for step in 0..3 {
        let Batch { origin, share } = read_share(&plan, step, 0, 1).unwrap();
        let expected = match origin.dataset.as_str() {
            "a" => (3, Negatives::All, false),
            "b" => (2, Negatives::Own, false),
            _ => (1, Negatives::InBatch, true),
        };
        assert_eq!((share.group_size, share.negatives, share.two_way), expected, "{}", origin.dataset);
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
fn rows_without_negatives_are_counted_before_the_run_starts() {
    for (set, rows) in
        [(written("pairs", 9, 0), "9 of 9"), (Written { bare_row: Some(40), ..written("pairs", 64, 7) }, "1 of 64")]
    {
        let error = error(&[set], &format!("{GROUPS}group_size = 8"));
        let message = error.to_string();
        assert!(message.contains(&format!("data set `pairs`: {rows} rows have no negatives")), "{message}");
        assert!(message.contains("in_batch") && message.contains("reject"), "{message}");
        assert_eq!(error.exit_code(), ExitCode::Data);
    }
}

#[test]
fn rows_with_too_few_negatives_are_left_out_if_the_recipe_rejects_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[Written { bare_row: Some(40), ..written("a", 65, 7) }]);
    let plan = plan(&store, &format!("{GROUPS}few_negatives = \"reject\"\ngroup_size = 8\n")).unwrap();
    assert_eq!(plan.cells()[0].size.num_rows, 64);
    let warnings = plan.warnings().join("\n");
    assert!(
        warnings.contains("data set `a`: 1 of 65 rows have fewer than 7 negatives; they are left out"),
        "{warnings}"
    );
    let mut rows: Vec<u64> =
        (0..8).flat_map(|step| read_share(&plan, step, 0, 1).unwrap().origin.row_ids).map(|id| id.row).collect();
    rows.sort_unstable();
    assert!(rows.into_iter().eq((0..65).filter(|&row| row != 40)));
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
    assert!(plan.cells().iter().all(|cell| plan.source(cell).datasets == [0]));
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
fn small_sets_are_merged_and_smaller_ones_left_out_and_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let sets = [written("large", 64, 7), written("s1", 9, 7), written("s2", 10, 7), written("s3", 11, 7)];
    let store = store(dir.path(), &sets);
    let data = format!("{GROUPS}merge_below = 12\ndrop_below = 12\n[[data.sets]]\nname = \"s3\"\ngroup_size = 2\n");
    let plan = plan(&store, &data).unwrap();
    let names: Vec<&str> = plan.sources().iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["large", "s1+s2"]);
    let warnings = plan.warnings().join("\n");
    assert!(warnings.contains("2 small data sets are merged, 19 rows: s1, s2"), "{warnings}");
    assert!(warnings.contains("data set `s3` is left out: 11 rows are fewer than data.drop_below 12"), "{warnings}");
    // Every batch of the merged source is a batch of one source and has rows of both data sets.
    let batches: Vec<_> = (0..10).map(|step| read_share(&plan, step, 0, 1).unwrap()).collect();
    let merged: Vec<_> = batches.iter().filter(|batch| batch.origin.dataset == "s1+s2").collect();
    assert_eq!(merged.len(), 2);
    let mut rows: Vec<_> = merged.iter().flat_map(|batch| batch.origin.row_ids.clone()).collect();
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 16);
    assert!(rows.iter().any(|id| id.dataset == 1) && rows.iter().any(|id| id.dataset == 2));
}

#[test]
fn weights_shares_and_changes_are_kept_to() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[written("a", 800, 7), written("b", 80, 7), written("c", 80, 7)]);
    let count = |data: &str, steps: std::ops::Range<u64>| {
        let plan = plan(&store, &format!("{GROUPS}{data}")).unwrap();
        let mut counts = [0u64; 3];
        let given = [steps.end, steps.start].map(|step| plan.batches_given_by(step));
        for (i, cell) in plan.cells().iter().enumerate() {
            counts[cell.source] += given[0][i] - given[1][i];
        }
        counts
    };
    assert_eq!(count("", 0..120), [100, 10, 10]);
    let weighted = "[[data.sets]]\nname = \"b\"\nweight = 5.0\n[[data.sets]]\nname = \"c\"\nweight = 0\n";
    assert_eq!(count(weighted, 0..110), [73, 37, 0]);
    assert_eq!(count("[[data.sets]]\nname = \"b\"\nshare = 0.5\n", 0..119), [54, 60, 5]);
    let [a, b, c] = count("sampling_temperature = 2.0\n", 0..120);
    assert!(a.abs_diff(74) <= 1 && b.abs_diff(23) <= 1 && c == b, "{a} {b} {c}: as 10^0.5 to 1 to 1");
    let changing = format!("{weighted}[[data.changes]]\nfrom_step = 110\nweights = {{ b = 0.0, c = 1.0 }}\n");
    assert_eq!(count(&changing, 0..110), [73, 37, 0]);
    assert_eq!(count(&changing, 110..220), [100, 0, 10]);
    let nothing = ["a", "b", "c"].map(|name| format!("[[data.sets]]\nname = \"{name}\"\nweight = 0\n")).concat();
    let message = plan(&store, &format!("{GROUPS}{nothing}")).unwrap_err().to_string();
    assert!(message.contains("every data set has weight 0"), "{message}");
}

#[test]
fn a_data_set_may_have_its_own_batch_table() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), &[written("a", 80, 7), written("b", 80, 7)]);
    let own = "[[data.sets]]\nname = \"b\"\nlength_groups = [{ max_len = 50, global_batch = 4 }, { max_len = 70, global_batch = 2 }]\n";
    let plan = plan(&store, &format!("{GROUPS}{own}")).unwrap();
    let lens: Vec<(usize, (usize, usize))> = plan.cells().iter().map(|cell| (cell.source, cell.lens)).collect();
    assert!(lens.starts_with(&[(0, (0, 64))]) && lens[1..].iter().all(|(source, _)| *source == 1), "{lens:?}");
    assert!(lens.contains(&(1, (50, 70))), "{lens:?}");
}
