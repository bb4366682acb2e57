//! What counts as slow, and beside what.

/// A rank below this share of the median rate is slow.
pub const SLOW_RANK: f64 = 0.7;

/// A link below this share of the median rate of its kind is slow.
pub const SLOW_LINK: f64 = 1.0 / 3.0;

/// The middle value; the larger of the two for an even number of values, and 0 for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
