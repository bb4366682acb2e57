//! Properties of the schedule: a bijection at every size, every row once an epoch, steps that need no history.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use proptest::prelude::*;
use tercet_sampler::{Cell, Permutation, Schedule};

/// Up to six cells of one or two data sets, from too small for a batch to many batches.
fn cells() -> impl Strategy<Value = Vec<Cell>> {
    prop::collection::vec((1u64..200, 1u64..40), 1..6).prop_map(|sizes| {
        let mut first_position = 0;
        let mut cells = Vec::new();
        for (i, (num_rows, global_batch)) in sizes.into_iter().enumerate() {
            if i == 3 {
                first_position = 0;
            }
            cells.push(Cell { dataset: i / 3, length_group: i % 3, first_position, num_rows, global_batch });
            first_position += num_rows;
        }
        cells
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
    fn an_epoch_has_every_row_once_but_for_the_remainder(cells in cells(), seed: u64, epoch in 0u64..5) {
        let Some(schedule) = Schedule::new(seed, cells.clone()) else {
            prop_assert!(cells.iter().all(|cell| cell.num_rows < cell.global_batch));
            return Ok(());
        };
        let steps = schedule.steps_per_epoch();
        prop_assert_eq!(steps, cells.iter().map(|cell| cell.num_rows / cell.global_batch).sum::<u64>());
        let mut seen = HashSet::new();
        for step in epoch * steps..(epoch + 1) * steps {
            let scheduled = schedule.step(step);
            let cell = scheduled.cell;
            prop_assert_eq!(scheduled.epoch, epoch);
            prop_assert!(cells.contains(&cell));
            prop_assert_eq!(scheduled.positions.len() as u64, cell.global_batch);
            for position in scheduled.positions {
                prop_assert!((cell.first_position..cell.first_position + cell.num_rows).contains(&position));
                prop_assert!(seen.insert((cell.dataset, position)), "{cell:?} gave {position} twice");
            }
        }
        for cell in &cells {
            let end = cell.first_position + cell.num_rows;
            let given = seen.iter().filter(|(d, p)| *d == cell.dataset && (cell.first_position..end).contains(p)).count();
            prop_assert_eq!(given as u64, cell.num_rows - cell.num_rows % cell.global_batch);
        }
    }

    #[test]
    fn steps_do_not_depend_on_the_order_of_asking(cells in cells(), seed: u64, asked in prop::collection::vec(0u64..500, 1..20)) {
        let Some(schedule) = Schedule::new(seed, cells.clone()) else { return Ok(()) };
        let in_order: Vec<_> = (0..500).map(|step| schedule.step(step)).collect();
        let again = Schedule::new(seed, cells).unwrap();
        for step in asked {
            prop_assert_eq!(&again.step(step), &in_order[step as usize]);
        }
    }
}

#[test]
fn epochs_and_seeds_differ() {
    let cells = vec![
        Cell { dataset: 0, length_group: 0, first_position: 0, num_rows: 1003, global_batch: 10 },
        Cell { dataset: 0, length_group: 1, first_position: 1003, num_rows: 507, global_batch: 5 },
    ];
    let epoch = |seed: u64, epoch: u64| {
        let schedule = Schedule::new(seed, cells.clone()).unwrap();
        let steps = schedule.steps_per_epoch();
        (epoch * steps..(epoch + 1) * steps).map(|step| schedule.step(step)).collect::<Vec<_>>()
    };
    let order = |seed, number| epoch(seed, number).iter().map(|s| s.cell.length_group).collect::<Vec<_>>();
    let rows = |seed, number| epoch(seed, number).into_iter().map(|s| s.positions).collect::<Vec<_>>();
    assert_ne!(order(1, 0), order(1, 1));
    assert_ne!(order(1, 0), order(2, 0));
    assert_ne!(rows(1, 0), rows(1, 1));

    // The rows that an epoch leaves out are others in the next.
    let left_out = |number| {
        let given: HashSet<u64> = rows(1, number).into_iter().flatten().collect();
        (0..1510).filter(|p| !given.contains(p)).collect::<Vec<u64>>()
    };
    assert_eq!(left_out(0).len(), 5);
    assert_ne!(left_out(0), left_out(1));
}

#[test]
fn leaving_a_cell_out_does_not_reorder_the_others() {
    let small = Cell { dataset: 0, length_group: 0, first_position: 0, num_rows: 50, global_batch: 10 };
    let large = Cell { dataset: 1, length_group: 0, first_position: 0, num_rows: 70, global_batch: 10 };
    let batches = |cells: Vec<Cell>| {
        let schedule = Schedule::new(3, cells).unwrap();
        let steps = (0..schedule.steps_per_epoch()).map(|step| schedule.step(step));
        steps.filter(|s| s.cell == large).map(|s| s.positions).collect::<HashSet<_>>()
    };
    assert_eq!(batches(vec![small, large]), batches(vec![large]));
}

#[test]
fn a_step_of_a_billion_rows_takes_no_time_and_no_memory() {
    // The paper's unsupervised stage: 1.2 billion rows, batches of 67,200.
    let cell = Cell { dataset: 0, length_group: 0, first_position: 0, num_rows: 1_200_000_000, global_batch: 67_200 };
    let schedule = Schedule::new(42, vec![cell]).unwrap();
    let far: HashSet<u64> = [0, 1, 17_000, 17_856].into_iter().flat_map(|step| schedule.step(step).positions).collect();
    assert_eq!(schedule.steps_per_epoch(), 17_857);
    assert_eq!(far.len(), 4 * 67_200);
}
