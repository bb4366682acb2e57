//! Properties of the schedule: it is a bijection at every size, takes every row once a pass, needs no history for a
//! step, and a later change of weights changes no earlier step.

#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use tercet_sampler::{CellSize, Permutation, Phase, Schedule};

fn cell(key: u64, num_rows: u64, global_batch: u64) -> CellSize {
    CellSize { key, num_rows, global_batch }
}

/// One mixture from the start, with every cell's whole batches once a round.
fn plain(seed: u64, cells: &[CellSize]) -> Schedule {
    let batches_per_round = cells.iter().map(CellSize::batches_per_pass).collect();
    Schedule::new(seed, cells.to_vec(), vec![Phase { first_step: 0, batches_per_round }])
}

/// Up to five cells of one to many batches.
fn cells() -> impl Strategy<Value = Vec<CellSize>> {
    let sizes = prop::collection::vec((1u64..40, 1u64..12, 0u64..39), 1..6);
    sizes.prop_map(|sizes| {
        let cell =
            |(key, (batch, batches, rest)): (u64, (u64, u64, u64))| cell(key, batch * batches + rest % batch, batch);
        (100..).zip(sizes).map(cell).collect()
    })
}

/// Cells, and up to four phases of any mixture of them.
fn mixtures() -> impl Strategy<Value = (Vec<CellSize>, Vec<Phase>)> {
    cells().prop_flat_map(|cells| {
        let per_round =
            prop::collection::vec(0u64..20, cells.len()).prop_filter("draws", |b| b.iter().sum::<u64>() > 0);
        let phases = prop::collection::vec((1u64..60, per_round), 1..5).prop_map(|lengths| {
            let mut first_step = 0;
            let mut phases = Vec::new();
            for (steps, batches_per_round) in lengths {
                phases.push(Phase { first_step, batches_per_round });
                first_step += steps;
            }
            phases
        });
        (Just(cells), phases)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_permutation_is_a_bijection(n in 1u64..3000, key: u64) {
        let permutation = Permutation::new(n, key);
        let mut seen = vec![false; n as usize];
        for i in 0..n {
            let x = permutation.apply(i) as usize;
            prop_assert!(x < n as usize && !seen[x], "{i} -> {x}");
            seen[x] = true;
        }
    }

    #[test]
    fn a_large_permutation_stays_in_range_and_does_not_collide(
        n in prop_oneof![Just(1_200_000_000u64), (1u64 << 31)..(1 << 40), Just(u64::MAX), Just((1 << 62) + 1)],
        key: u64,
        start: u64,
    ) {
        let permutation = Permutation::new(n, key);
        let start = (start % n).min(n - 500);
        let seen: HashSet<u64> = (start..start + 500).map(|i| permutation.apply(i)).collect();
        prop_assert_eq!(seen.len(), 500);
        prop_assert!(seen.into_iter().all(|x| x < n));
    }

    #[test]
    fn without_weights_an_epoch_has_every_row_once_but_for_the_remainder(
        cells in cells(),
        seed: u64,
        epoch in 0u64..5,
    ) {
        let schedule = plain(seed, &cells);
        let steps = schedule.phases()[0].steps_per_round();
        let mut seen = HashSet::new();
        for step in epoch * steps..(epoch + 1) * steps {
            let scheduled = schedule.step(step);
            prop_assert_eq!(scheduled.pass, epoch);
            for row in scheduled.rows {
                prop_assert!(row < cells[scheduled.cell].num_rows);
                prop_assert!(seen.insert((scheduled.cell, row)), "cell {} gave {row} twice", scheduled.cell);
            }
        }
        for (i, cell) in cells.iter().enumerate() {
            let given = seen.iter().filter(|(cell, _)| *cell == i).count() as u64;
            prop_assert_eq!(given, cell.num_rows - cell.num_rows % cell.global_batch);
        }
    }

    #[test]
    fn under_any_mixture_no_row_comes_again_before_its_pass_is_over((cells, phases) in mixtures(), seed: u64) {
        let schedule = Schedule::new(seed, cells.clone(), phases.clone());
        let mut given = vec![0u64; cells.len()];
        let mut seen: Vec<HashSet<u64>> = vec![HashSet::new(); cells.len()];
        for step in 0..300 {
            prop_assert_eq!(&schedule.given_by(step), &given, "before step {}", step);
            let scheduled = schedule.step(step);
            let (cell, seen) = (&cells[scheduled.cell], &mut seen[scheduled.cell]);
            prop_assert_eq!(scheduled.rows.len() as u64, cell.global_batch);
            prop_assert_eq!(scheduled.pass, given[scheduled.cell] / cell.batches_per_pass());
            if given[scheduled.cell] % cell.batches_per_pass() == 0 {
                seen.clear();
            }
            prop_assert!(scheduled.rows.iter().all(|&row| row < cell.num_rows && seen.insert(row)));
            given[scheduled.cell] += 1;
        }
        // Every round keeps to the mixture exactly.
        let last = phases.last().unwrap();
        let by = |step: u64| schedule.given_by(last.first_step + step * last.steps_per_round());
        for cell in 0..cells.len() {
            prop_assert_eq!(by(7)[cell] - by(2)[cell], 5 * last.batches_per_round[cell]);
        }
    }

    #[test]
    fn steps_do_not_depend_on_the_order_of_asking(
        (cells, phases) in mixtures(),
        seed: u64,
        asked in prop::collection::vec(0u64..200, 1..20),
    ) {
        let schedule = Schedule::new(seed, cells.clone(), phases.clone());
        let in_order: Vec<_> = (0..200).map(|step| schedule.step(step)).collect();
        let again = Schedule::new(seed, cells, phases);
        for step in asked {
            prop_assert_eq!(&again.step(step), &in_order[step as usize]);
        }
    }

    #[test]
    fn what_begins_later_changes_nothing_before((cells, phases) in mixtures(), seed: u64, added in 1u64..50) {
        let now = Schedule::new(seed, cells.clone(), phases.clone());
        // Another cell is added, which is first drawn from in a later phase.
        let from = phases.last().unwrap().first_step + 40;
        let mut later = phases;
        later.iter_mut().for_each(|phase| phase.batches_per_round.insert(0, 0));
        let batches_per_round = vec![3; cells.len() + 1];
        later.push(Phase { first_step: from, batches_per_round });
        let more: Vec<CellSize> = std::iter::once(cell(7, 9 * added, added)).chain(cells).collect();
        let later = Schedule::new(seed, more, later);
        for step in 0..from {
            let (a, b) = (now.step(step), later.step(step));
            prop_assert_eq!((a.cell + 1, a.pass, a.rows), (b.cell, b.pass, b.rows), "step {}", step);
        }
    }
}

#[test]
fn epochs_and_seeds_differ() {
    let cells = [cell(1, 1003, 10), cell(2, 507, 5)];
    let epoch = |seed: u64, epoch: u64| {
        let schedule = plain(seed, &cells);
        let steps = schedule.phases()[0].steps_per_round();
        (epoch * steps..(epoch + 1) * steps).map(|step| schedule.step(step)).collect::<Vec<_>>()
    };
    let order = |seed, number| epoch(seed, number).iter().map(|s| s.cell).collect::<Vec<_>>();
    let rows = |seed, number| epoch(seed, number).into_iter().map(|s| (s.cell, s.rows)).collect::<Vec<_>>();
    assert_ne!(order(1, 0), order(1, 1));
    assert_ne!(order(1, 0), order(2, 0));
    assert_ne!(rows(1, 0), rows(1, 1));

    // The next pass leaves out other rows.
    let left_out = |number| {
        let rows = rows(1, number).into_iter().flat_map(|(cell, rows)| rows.into_iter().map(move |row| (cell, row)));
        let given: HashSet<(usize, u64)> = rows.collect();
        (0..1003)
            .map(|row| (0, row))
            .chain((0..507).map(|row| (1, row)))
            .filter(|p| !given.contains(p))
            .collect::<Vec<_>>()
    };
    assert_eq!(left_out(0).len(), 5);
    assert_ne!(left_out(0), left_out(1));
}

#[test]
fn leaving_a_cell_out_does_not_reorder_the_others() {
    let (small, large) = (cell(1, 50, 10), cell(2, 70, 10));
    let batches = |cells: &[CellSize]| {
        let schedule = plain(3, cells);
        let steps = (0..schedule.phases()[0].steps_per_round()).map(|step| schedule.step(step));
        steps.filter(|s| cells[s.cell] == large).map(|s| s.rows).collect::<Vec<_>>()
    };
    assert_eq!(batches(&[small, large]), batches(&[large]));
}

#[test]
fn a_rounds_cells_come_evenly() {
    let schedule = plain(5, &[cell(1, 900, 1), cell(2, 100, 1)]);
    let steps = (0..1000).map(|step| schedule.step(step).cell);
    let mut since = 0;
    let mut gaps = HashMap::new();
    for cell in steps {
        since += 1;
        if cell == 1 {
            *gaps.entry(since).or_insert(0) += 1;
            since = 0;
        }
    }
    assert!(gaps.keys().all(|gap| *gap <= 21), "{gaps:?}");
    assert!(gaps.len() > 10, "and yet not like clockwork: {gaps:?}");
}

#[test]
fn a_step_of_a_billion_rows_takes_no_time_and_no_memory() {
    // The paper's unsupervised stage has 1.2 billion rows and batches of 67,200.
    let schedule = plain(42, &[cell(1, 1_200_000_000, 67_200)]);
    let far: HashSet<u64> = [0, 1, 17_000, 17_856].into_iter().flat_map(|step| schedule.step(step).rows).collect();
    assert_eq!(schedule.phases()[0].steps_per_round(), 17_857);
    assert_eq!(far.len(), 4 * 67_200);
}
