//! Gradient norms far above the run's usual ones: a sign of bad rows or of a learning rate that is too high, before
//! anything is lost.

use std::collections::VecDeque;

/// Norms that the usual one is the median of.
pub const WINDOW: usize = 100;

/// Norms without which nothing is called usual.
const MIN_NORMS: usize = 10;

/// The norms of the last steps.
pub struct Spikes {
    /// A spike is this many times the median; 0: nothing is one.
    ratio: f64,
    norms: VecDeque<f64>,
}

impl Spikes {
    /// Looks for norms of `ratio` times the median, which `before`, oldest first, are the first part of.
    pub fn new(ratio: f64, before: impl IntoIterator<Item = f64>) -> Self {
        Self { ratio, norms: before.into_iter().collect() }
    }

    /// Takes the next step's norm. If it is a spike: how many times the median it is.
    pub fn take(&mut self, norm: f64) -> Option<f64> {
        let median = (self.norms.len() >= MIN_NORMS).then(|| self.median());
        if self.norms.len() == WINDOW {
            self.norms.pop_front();
        }
        self.norms.push_back(norm);
        let times = norm / median.filter(|median| *median > 0.0)?;
        (self.ratio > 0.0 && times >= self.ratio).then_some(times)
    }

    fn median(&self) -> f64 {
        let mut norms: Vec<f64> = self.norms.iter().copied().collect();
        let middle = norms.len() / 2;
        *norms.select_nth_unstable_by(middle, f64::total_cmp).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_far_above_the_median_is_a_spike_and_does_not_hide_the_next() {
        let mut spikes = Spikes::new(10.0, (0..9).map(|i| 1.0 + 0.1 * f64::from(i)));
        assert_eq!(spikes.take(1000.0), None, "nine steps say little");
        assert_eq!(spikes.take(15.0), Some(10.0));
        assert_eq!(spikes.take(13.0), None);
        assert!(spikes.take(100.0).is_some());
        assert_eq!(Spikes::new(0.0, [1.0; 50]).take(1e9), None);
    }

    #[test]
    fn what_is_usual_moves_with_the_run() {
        let mut spikes = Spikes::new(10.0, [1.0; WINDOW]);
        assert!(spikes.take(20.0).is_some());
        assert!((0..WINDOW).filter(|_| spikes.take(20.0).is_some()).count() <= WINDOW / 2);
        assert_eq!(spikes.take(20.0), None);
    }
}
