//! The plan's source of random numbers: a hash of the numbers that name a decision, and draws from that hash.
//!
//! No state outlives a decision, so every rank, every restart and every world size decides alike. The mixing is
//! SplitMix64's (Steele, Lea and Flood, 2014). It is not cryptographic and need not be.

/// 2^64 / golden ratio, SplitMix64's increment.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64-bit numbers; every bit of `x` flips about half of the bits of the result.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of `parts`; their order matters.
pub fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(parts.len() as u64, |state, &part| mix((state ^ part).wrapping_add(INCREMENT)))
}

/// A hash of a name.
pub(super) fn hash_name(name: &str) -> u64 {
    name.bytes().fold(0, |state, byte| mix((state ^ u64::from(byte)).wrapping_add(INCREMENT)))
}

/// What a hash decides; the keys of two purposes never coincide.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// The order of the batches of a round.
    BatchOrder = 1,
    /// The order of a cell's rows.
    RowOrder = 2,
    /// What is taken from a row.
    RowChoices = 3,
    /// What a step does at random in a row's texts.
    RowKey = 4,
}

/// Random numbers for one decision.
#[derive(Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// The draws that `key` determines.
    pub(super) fn new(key: u64) -> Self {
        Self(key)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
        mix(self.0)
    }

    /// Uniform in `0..n`, for n of at least 1. The bias is below n / 2^64.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// True with probability `p`. It always takes one number, so later draws do not depend on `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        // A double holds 53 bits exactly.
        ((self.next() >> 11) as f64) < p * (1u64 << 53) as f64
    }

    /// Draws `count` of `items` without replacement, in random order, by a Fisher-Yates shuffle that stops early.
    pub(super) fn sample<T>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        for i in 0..count {
            let j = i + self.below(items.len() - i);
            items.swap(i, j);
        }
        items.truncate(count);
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_is_splitmix64() {
        // The published generator's first number from seed 0.
        assert_eq!(mix(INCREMENT), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn the_hash_is_pinned() {
        // A change here changes the order of every run and breaks resuming.
        assert_eq!(hash(&[42, 0, 3, 1, 7]), 0x3b57_0dc4_6c2a_0140);
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[0]), hash(&[0, 0]));
    }

    #[test]
    fn chance_keeps_its_share() {
        let hits = (0..100_000).filter(|&i| Draws::new(hash(&[i])).chance(0.2)).count();
        assert!((19_400..20_600).contains(&hits), "{hits} of 100000 at 0.2");
        assert!(!Draws::new(0).chance(0.0));
        assert!(Draws::new(0).chance(1.0));
    }

    #[test]
    fn below_is_even() {
        let mut counts = [0u32; 7];
        for i in 0..70_000 {
            counts[Draws::new(hash(&[i, 5])).below(7)] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
    }

    #[test]
    fn a_sample_has_no_repeats() {
        for key in 0..1000 {
            let mut sample = Draws::new(key).sample((0..9).collect(), 5);
            sample.sort_unstable();
            sample.dedup();
            assert_eq!(sample.len(), 5);
        }
    }
}
