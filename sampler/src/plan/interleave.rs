//! The order in which the cells of a round give their batches.
//!
//! Cell c gives m_c batches in a round. Its i-th batch is due at time (i + u) / m_c, with u from a hash, so batches are
//! evenly spread and cells are never in step. A round takes all batches in the order of these times. So every part of
//! training sees all data, a cell's batches come in their own order, and the number of each cell's batches before any
//! point is known without going through them. A look-up costs one pass over the cells for each bit of a time; its cost
//! does not depend on the number of batches.

/// Times run from 0 to 2^64, which is the end of the round.
const TIME_BITS: u32 = u64::BITS;

/// A round of cells with these numbers of batches, each below 2^32. `jitter(c, i)` delays batch i of cell c within its
/// slot.
pub(super) struct Round<'a, F> {
    batches: &'a [u64],
    jitter: F,
}

impl<'a, F: Fn(usize, u64) -> u32> Round<'a, F> {
    pub(super) fn new(batches: &'a [u64], jitter: F) -> Self {
        Self { batches, jitter }
    }

    /// The cell that gives batch `nth` of the round, and the number of batches that it gave before. `nth` is below the
    /// sum of batches.
    pub(super) fn batch(&self, nth: u64) -> (usize, u64) {
        let due = self.time_of(nth);
        let before = self.given_before(nth, due);
        // The batch belongs to the first cell that has more batches due by `due` than it has given.
        let cell = (0..self.batches.len()).find(|&cell| self.due_by(cell, due) > before[cell]);
        let cell = cell.expect("batches that are due add up to more than `nth`");
        (cell, before[cell])
    }

    /// The number of batches that each cell gives among the first `nth` of the round.
    pub(super) fn before(&self, nth: u64) -> Vec<u64> {
        if nth == self.batches.iter().sum::<u64>() {
            return self.batches.to_vec();
        }
        self.given_before(nth, self.time_of(nth))
    }

    /// The first time by which more than `nth` batches are due.
    fn time_of(&self, nth: u64) -> u64 {
        let due_by = |time: u64| -> u64 { (0..self.batches.len()).map(|cell| self.due_by(cell, time)).sum() };
        let mut time = 0;
        for bit in (0..TIME_BITS).rev() {
            // The largest time below `later` has the bits found so far, 0 here, and 1 in all lower bits.
            let later = time | 1 << bit;
            if due_by(later - 1) <= nth {
                time = later;
            }
        }
        time
    }

    /// As [`before`](Self::before), where `due` is the time of batch `nth`. Batches due at the same time come cell by
    /// cell.
    fn given_before(&self, nth: u64, due: u64) -> Vec<u64> {
        let due_before = |cell: usize| due.checked_sub(1).map_or(0, |time| self.due_by(cell, time));
        let mut given: Vec<u64> = (0..self.batches.len()).map(due_before).collect();
        let mut left = nth - given.iter().sum::<u64>();
        for (cell, given) in given.iter_mut().enumerate() {
            let taken = left.min(self.due_by(cell, due) - *given);
            *given += taken;
            left -= taken;
        }
        given
    }

    /// The number of batches of `cell` that are due at `time` or before.
    fn due_by(&self, cell: usize, time: u64) -> u64 {
        let elapsed = u128::from(time) * u128::from(self.batches[cell]);
        // The number of the cell's slots that have passed, and the share of the next one, in 32 bits.
        let (slots, share) = ((elapsed >> 64) as u64, (elapsed >> 32) as u32);
        if slots >= self.batches[cell] {
            return self.batches[cell];
        }
        slots + u64::from(share >= (self.jitter)(cell, slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::hash::hash;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_round_gives_every_batch_once_in_each_cells_order(
            batches in prop::collection::vec(0u64..40, 1..8),
            seed: u64,
            coarse: bool,
        ) {
            // Coarse jitter makes many batches due at the same time.
            let jitter = |cell: usize, i: u64| {
                let jitter = hash(&[seed, cell as u64, i]) as u32;
                if coarse { jitter & 0x8000_0000 } else { jitter }
            };
            let round = Round::new(&batches, jitter);
            let mut given = vec![0; batches.len()];
            for nth in 0..batches.iter().sum() {
                prop_assert_eq!(&round.before(nth), &given);
                let (cell, i) = round.batch(nth);
                prop_assert_eq!(i, given[cell]);
                given[cell] += 1;
            }
            prop_assert_eq!(&given, &batches);
            prop_assert_eq!(&round.before(batches.iter().sum()), &given);
        }

        #[test]
        fn at_any_time_each_cell_has_given_its_share_to_within_a_batch(
            batches in prop::collection::vec(1u64..1000, 2..6),
            seed: u64,
            at in 0.0f64..1.0,
        ) {
            let round = Round::new(&batches, |cell, i| hash(&[seed, cell as u64, i]) as u32);
            let total: u64 = batches.iter().sum();
            let given = round.before((at * total as f64) as u64);
            for (given, all) in given.iter().zip(&batches) {
                // Every other cell is off by at most one batch, and so is the time that this point stands for.
                let off = 1.0 + batches.len() as f64;
                prop_assert!((*given as f64 - at * *all as f64).abs() <= off, "{given} of {all} at {at}");
            }
        }
    }

    #[test]
    fn a_round_may_be_as_long_as_training_data_gets() {
        let batches = [u64::from(u32::MAX), 3];
        let round = Round::new(&batches, |cell, i| hash(&[cell as u64, i]) as u32);
        let last = batches.iter().sum::<u64>() - 1;
        let of_small: u64 = [last / 4, last / 2, last].iter().map(|&nth| round.before(nth)[1]).sum();
        assert!((3..=8).contains(&of_small), "{of_small}");
    }
}
