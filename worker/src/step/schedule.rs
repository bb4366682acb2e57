//! The learning rate over a run.

use tercet_configs::OptimizerSection;

/// The learning rate of optimizer step `step` (from 0) of `steps`: a linear rise over the warm-up, then a linear fall
/// that would reach 0 at `steps`. The first step already moves (rate peak / warm-up).
pub fn learning_rate(settings: &OptimizerSection, step: u64, steps: u64) -> f64 {
    let warmup = (steps as f64 * settings.warmup_ratio).ceil();
    let rise = if warmup > 0.0 { (step + 1) as f64 / warmup } else { 1.0 };
    let fall =
        if settings.linear_decay { (steps - step.min(steps)) as f64 / (steps as f64 - warmup).max(1.0) } else { 1.0 };
    settings.learning_rate * rise.min(fall).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_peaks_and_falls() {
        let settings = OptimizerSection { learning_rate: 1.0, warmup_ratio: 0.2, ..Default::default() };
        let rates: Vec<f64> = (0..10).map(|s| learning_rate(&settings, s, 10)).collect();
        assert_eq!(&rates[..3], [0.5, 1.0, 1.0]);
        assert_eq!(rates[9], 0.125);
        assert!(rates[2..].is_sorted_by(|a, b| a >= b));
    }
}
