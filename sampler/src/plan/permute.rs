//! A keyed permutation of 0..n without a table: any element is found by itself, in constant time and memory.
//!
//! A Feistel network permutes the numbers with an even number of bits, the smallest that holds n. If a result lies
//! outside 0..n, the network is applied again until one lies inside (*cycle walking*, Black and Rogaway 2002). Fewer
//! than 4n numbers have that many bits, so this takes fewer than four applications on average.

use super::hash::{hash, mix};

/// Enough rounds for even the smallest networks (one bit on each side) to give every order about equally often.
const ROUNDS: usize = 8;

/// A bijection of 0..n that its key determines.
#[derive(Debug, Clone)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    round_keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of 0..`n` under `key`.
    pub fn new(n: u64, key: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let round_keys = std::array::from_fn(|round| hash(&[key, round as u64]));
        Self { n, half_bits: bits.div_ceil(2), round_keys }
    }

    /// The image of `index`.
    ///
    /// # Panics
    /// If `index` is not below n.
    pub fn apply(&self, index: u64) -> u64 {
        assert!(index < self.n, "index {index} of a permutation of {}", self.n);
        let mut x = self.network(index);
        // The loop ends, because the walk follows a cycle of the network's permutation back to `index`, which is below
        // n.
        while x >= self.n {
            x = self.network(x);
        }
        x
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for key in &self.round_keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_pinned() {
        // A change here changes the order of every run and breaks resuming.
        let permutation = Permutation::new(10, 42);
        let order: Vec<u64> = (0..10).map(|i| permutation.apply(i)).collect();
        assert_eq!(order, [3, 0, 2, 4, 5, 1, 9, 6, 7, 8]);
    }

    #[test]
    fn small_permutations_reach_every_order_about_equally() {
        for (n, orders) in [(2u64, 2usize), (3, 6), (4, 24)] {
            let mut counts = std::collections::HashMap::new();
            for key in 0..24_000 {
                let permutation = Permutation::new(n, key);
                let order: Vec<u64> = (0..n).map(|i| permutation.apply(i)).collect();
                *counts.entry(order).or_insert(0usize) += 1;
            }
            let expected = 24_000 / orders;
            assert_eq!(counts.len(), orders);
            assert!(counts.values().all(|&c| c.abs_diff(expected) < expected / 5), "n = {n}: {counts:?}");
        }
    }

    #[test]
    fn neighbours_do_not_stay_neighbours() {
        let n = 1_000_000;
        let permutation = Permutation::new(n, 7);
        let near = (0..n - 1).filter(|&i| permutation.apply(i).abs_diff(permutation.apply(i + 1)) < n / 100).count();
        // Two random numbers below n are this near with probability 2 %.
        assert!((18_000..22_000).contains(&near), "{near}");
    }
}
