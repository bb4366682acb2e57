//! Deals the rows of a global batch to ranks: equal counts, and costs as equal as swapping makes them.
//!
//! Ranks work in lockstep, so a step lasts as long as its most loaded rank. Costs are whole numbers, so ranks on
//! different machines deal exactly alike. This module sees only costs and does not know what a row is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// The hidden size that [`text_cost`] assumes: that of XLM-RoBERTa-large and BGE-M3.
const HIDDEN_SIZE: u64 = 1024;

/// Dealing stops improving once the most loaded rank has at most this multiple of the mean cost.
const GOOD_ENOUGH: f64 = 1.001;

/// The cost of encoding a text, in an arbitrary unit.
///
/// Per layer of hidden size d, the linear maps take 24·d² operations per token and attention 4·d·tokens² in all, so the
/// two are in the ratio 6·d·tokens to tokens². With another d the balance is slightly less exact, and nothing else
/// changes.
pub fn text_cost(num_tokens: usize) -> u64 {
    let tokens = num_tokens as u64;
    6 * HIDDEN_SIZE * tokens + tokens * tokens
}

/// A global batch's rows, dealt to ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Deal {
    /// Each rank's rows, as ascending indices into the global batch.
    pub rows: Vec<Vec<usize>>,
    /// The most loaded rank's cost divided by the mean; 1 is perfect.
    pub imbalance: f64,
}

/// Deals rows of the given costs to `world_size` ranks (at least 1).
///
/// Counts are equal; if the rows do not divide evenly, the first ranks take one more. The same input gives the same
/// deal.
pub fn deal(costs: &[u64], world_size: usize) -> Deal {
    let mut hands = largest_to_least_loaded(costs, world_size);
    swap_until_even(&mut hands);
    let total: u64 = hands.iter().map(|hand| hand.load).sum();
    let heaviest = hands.iter().map(|hand| hand.load).max().unwrap_or(0);
    let imbalance = if total == 0 { 1.0 } else { heaviest as f64 * world_size as f64 / total as f64 };
    let rows = hands
        .into_iter()
        .map(|hand| {
            let mut rows: Vec<usize> = hand.rows.into_iter().map(|(_, row)| row).collect();
            rows.sort_unstable();
            rows
        })
        .collect();
    Deal { rows, imbalance }
}

/// The rows of `rank` when `num_rows` are cut into consecutive parts; if they do not divide evenly, the first ranks
/// take one more.
pub fn contiguous_share(num_rows: usize, rank: usize, world_size: usize) -> Range<usize> {
    let (each, more) = (num_rows / world_size, num_rows % world_size);
    let start = rank * each + rank.min(more);
    start..start + each + usize::from(rank < more)
}

/// The rows of one rank, as (cost, row) in descending order, and their total cost.
struct Hand {
    rows: Vec<(u64, usize)>,
    load: u64,
}

/// The initial deal: rows from the costliest down, each to the least loaded rank that still has room.
fn largest_to_least_loaded(costs: &[u64], world_size: usize) -> Vec<Hand> {
    let mut by_cost: Vec<(u64, usize)> = costs.iter().copied().zip(0..).collect();
    by_cost.sort_unstable_by_key(|&row| Reverse(row));

    let room: Vec<usize> = (0..world_size).map(|r| contiguous_share(costs.len(), r, world_size).len()).collect();
    let mut hands: Vec<Hand> = room.iter().map(|&n| Hand { rows: Vec::with_capacity(n), load: 0 }).collect();
    let mut open: BinaryHeap<Reverse<(u64, usize)>> =
        (0..world_size).filter(|&rank| room[rank] > 0).map(|rank| Reverse((0, rank))).collect();
    for (cost, row) in by_cost {
        // The rooms add up to the number of rows, so a rank has room while a row is left.
        let Reverse((load, rank)) = open.pop().expect("a rank with room");
        hands[rank].rows.push((cost, row));
        hands[rank].load = load + cost;
        if hands[rank].rows.len() < room[rank] {
            open.push(Reverse((load + cost, rank)));
        }
    }
    hands
}

/// Swaps a row of the most loaded rank for a cheaper one of another rank while that lowers the maximum.
fn swap_until_even(hands: &mut [Hand]) {
    let total: u64 = hands.iter().map(|hand| hand.load).sum();
    let goal = (total as f64 / hands.len() as f64 * GOOD_ENOUGH) as u64;
    // A rarely reached bound on the time: some swaps for every rank.
    for _ in 0..16 * hands.len() {
        let mut by_load: Vec<usize> = (0..hands.len()).collect();
        by_load.sort_unstable_by_key(|&rank| (hands[rank].load, rank));
        let Some((&heaviest, lighter)) = by_load.split_last() else { return };
        if hands[heaviest].load <= goal {
            return;
        }
        let found = lighter.iter().find_map(|&rank| best_swap(&hands[heaviest], &hands[rank]).map(|swap| (rank, swap)));
        let Some((rank, (given, taken))) = found else { return };
        let given = hands[heaviest].take(given);
        let taken = hands[rank].take(taken);
        hands[heaviest].insert(taken);
        hands[rank].insert(given);
    }
}

/// The rows (as indices into `heavy.rows` and `light.rows`) whose swap brings the two loads closest together; `None` if
/// no swap lowers the larger load.
fn best_swap(heavy: &Hand, light: &Hand) -> Option<(usize, usize)> {
    let gap = heavy.load - light.load;
    let mut best = None;
    let mut j = 0;
    for (i, &(cost, _)) in heavy.rows.iter().enumerate() {
        // The rows of `light` are descending; those from j on are cheaper than `cost` by at least half the gap.
        while j < light.rows.len() && 2 * light.rows[j].0 + gap > 2 * cost {
            j += 1;
        }
        for k in [j.wrapping_sub(1), j] {
            let Some(&(other, _)) = light.rows.get(k) else { continue };
            // Moving `moved` leaves the loads |gap - 2 moved| apart; it lowers the maximum if 0 < moved < gap.
            let Some(moved) = cost.checked_sub(other).filter(|&moved| 0 < moved && moved < gap) else { continue };
            let rest = gap.abs_diff(2 * moved);
            if best.is_none_or(|(least, _, _)| rest < least) {
                best = Some((rest, i, k));
            }
        }
    }
    best.map(|(_, i, k)| (i, k))
}

impl Hand {
    fn take(&mut self, index: usize) -> (u64, usize) {
        let row = self.rows.remove(index);
        self.load -= row.0;
        row
    }

    fn insert(&mut self, row: (u64, usize)) {
        let index = self.rows.partition_point(|&other| other > row);
        self.rows.insert(index, row);
        self.load += row.0;
    }
}
