//! Properties of dealing: the parts are disjoint, complete, equal in count and even in cost.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tercet_sampler::{Deal, contiguous_share, deal, text_cost};

/// Deterministic lengths with a heavy tail: log-normal with sigma 1, the spread of real passages, cut to 10..=500.
fn heavy_tailed_lengths(num: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut normal = || (-2.0 * uniform().max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..num).map(|_| (100.0 * f64::exp(normal())).clamp(10.0, 500.0) as usize).collect()
}

fn loads(costs: &[u64], deal: &Deal) -> Vec<u64> {
    deal.rows.iter().map(|rows| rows.iter().map(|&row| costs[row]).sum()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_are_disjoint_complete_and_equal(
        costs in prop::collection::vec(0u64..1_000_000, 0..200),
        world_size in 1usize..20,
    ) {
        let dealt = deal(&costs, world_size);
        prop_assert_eq!(dealt.rows.len(), world_size);
        for (rank, rows) in dealt.rows.iter().enumerate() {
            prop_assert_eq!(rows.len(), contiguous_share(costs.len(), rank, world_size).len());
            prop_assert!(rows.is_sorted());
        }
        let mut all: Vec<usize> = dealt.rows.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..costs.len()).collect::<Vec<_>>());
        prop_assert_eq!(&deal(&costs, world_size), &dealt);

        let loads = loads(&costs, &dealt);
        let mean = loads.iter().sum::<u64>() as f64 / world_size as f64;
        let expected = if mean == 0.0 { 1.0 } else { *loads.iter().max().unwrap() as f64 / mean };
        prop_assert!((dealt.imbalance - expected).abs() < 1e-9, "{} {expected}", dealt.imbalance);
    }

    #[test]
    fn no_rank_is_more_than_a_row_above_the_mean(
        costs in prop::collection::vec(0u64..1_000_000, 1..200),
        world_size in 1usize..20,
    ) {
        let dealt = deal(&costs, world_size);
        let loads = loads(&costs, &dealt);
        let mean = loads.iter().sum::<u64>() as f64 / world_size as f64;
        // While the most loaded rank is above another by more than the costliest row, some swap of the two lowers it.
        let heaviest = *loads.iter().max().unwrap() as f64;
        prop_assert!(heaviest <= mean + *costs.iter().max().unwrap() as f64, "{loads:?}");
    }

    #[test]
    fn contiguous_shares_follow_each_other(num_rows in 0usize..300, world_size in 1usize..40) {
        let mut next = 0;
        for rank in 0..world_size {
            let share = contiguous_share(num_rows, rank, world_size);
            prop_assert_eq!(share.start, next);
            next = share.end;
        }
        prop_assert_eq!(next, num_rows);
    }
}

#[test]
fn heavy_tails_are_dealt_evenly() {
    for (num_rows, world_size) in [(48, 2), (64, 4), (256, 8), (1152, 24), (9_984, 96), (67_200, 96)] {
        let mut imbalances: Vec<f64> = (0..21)
            .map(|seed| {
                let costs: Vec<u64> = heavy_tailed_lengths(num_rows, seed).into_iter().map(text_cost).collect();
                deal(&costs, world_size).imbalance
            })
            .collect();
        imbalances.sort_by(f64::total_cmp);
        println!("{num_rows} rows, {world_size} ranks: median {:.5}, worst {:.5}", imbalances[10], imbalances[20]);
        assert!(imbalances[10] <= 1.01, "{num_rows} rows, {world_size} ranks: {imbalances:?}");
    }
}

#[test]
fn one_row_that_outweighs_all_others_sits_with_the_lightest() {
    let dealt = deal(&[1000, 1, 2, 3, 4, 5], 2);
    assert_eq!(dealt.rows[0], [0, 1, 2]);
}
