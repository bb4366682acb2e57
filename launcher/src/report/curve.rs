//! A figure over a run's steps, in as much memory for a week of them as for an hour.

use super::tenths::PARTS;

/// Points of a curve at most. Below it a point is a step.
const MAX_BINS: usize = 200;

/// Means of a figure over stretches of steps. When there are too many stretches, each becomes twice as long.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Steps of a stretch.
    width: u64,
    bins: Vec<Bin>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    sum: f64,
    steps: f64,
    num: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { width: 1, bins: Vec::new() }
    }
}

impl Curve {
    /// Takes the `value` at `step`, from 1. What is no number is left out.
    pub fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let at = step.saturating_sub(1);
        while at / self.width >= MAX_BINS as u64 {
            self.width *= 2;
            self.bins = self.bins.chunks(2).map(|pair| pair.iter().copied().fold(Bin::default(), Bin::and)).collect();
        }
        let bin = (at / self.width) as usize;
        self.bins.resize(self.bins.len().max(bin + 1), Bin::default());
        self.bins[bin] = self.bins[bin].and(Bin { sum: value, steps: step as f64, num: 1.0 });
    }

    /// The mean step and value of each stretch that has any.
    pub fn points(&self) -> Vec<(f64, f64)> {
        self.filled().map(|bin| (bin.steps / bin.num, bin.sum / bin.num)).collect()
    }

    /// The means over the tenths of `num_steps` steps, as nearly as stretches tell.
    pub fn tenths(&self, num_steps: u64) -> Vec<Option<f64>> {
        let mut parts = [Bin::default(); PARTS];
        for bin in self.filled() {
            let share = (bin.steps / bin.num - 0.5) / num_steps.max(1) as f64;
            let part = ((share * PARTS as f64) as usize).min(PARTS - 1);
            parts[part] = parts[part].and(*bin);
        }
        parts.iter().map(|part| (part.num > 0.0).then(|| part.sum / part.num)).collect()
    }

    fn filled(&self) -> impl Iterator<Item = &Bin> {
        self.bins.iter().filter(|bin| bin.num > 0.0)
    }
}

impl Bin {
    fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, steps: self.steps + other.steps, num: self.num + other.num }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_few_points_which_are_means_of_its_steps() {
        let mut curve = Curve::default();
        (1..=100_000).for_each(|step| curve.push(step, step as f64));
        let points = curve.points();
        assert!((MAX_BINS / 2..=MAX_BINS).contains(&points.len()), "{}", points.len());
        assert!(points.iter().all(|(step, value)| step == value), "the value is the step");
        let tenths = curve.tenths(100_000);
        assert_eq!(tenths.len(), PARTS);
        for (part, value) in tenths.iter().enumerate() {
            assert!((value.unwrap() - (10_000.0 * part as f64 + 5_000.5)).abs() < 600.0, "{tenths:?}");
        }
    }

    #[test]
    fn what_is_no_number_or_seldom_there_leaves_gaps() {
        let mut curve = Curve::default();
        for (step, value) in [(1, 1.0), (2, f64::NAN), (7, 3.0), (10, f64::INFINITY)] {
            curve.push(step, value);
        }
        assert_eq!(curve.points(), [(1.0, 1.0), (7.0, 3.0)]);
        let tenths = curve.tenths(10);
        assert_eq!((tenths[0], tenths[1], tenths[6]), (Some(1.0), None, Some(3.0)));
        assert!(Curve::default().points().is_empty());
    }
}
