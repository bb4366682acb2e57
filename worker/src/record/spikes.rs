//! Finds gradient norms far above the run's usual ones, an early sign of bad rows or of too high a learning rate.

use std::collections::VecDeque;

/// The number of norms whose median is the usual one.
pub const WINDOW: usize = 100;

/// The number of norms below which there is no usual one.
const MIN_NORMS: usize = 10;

/// The gradient norms of the last steps.
pub struct Spikes {
    /// A norm of this multiple of the median is a spike; 0 means that none is.
    ratio: f64,
    norms: VecDeque<f64>,
}

impl Spikes {
    /// Looks for norms of at least `ratio` times the median. The first norms are `before`, oldest first.
    pub fn new(ratio: f64, before: impl IntoIterator<Item = f64>) -> Self {
        Self { ratio, norms: before.into_iter().collect() }
    }

    /// Takes the next step's norm. If it is a spike, returns the multiple of the median.
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
