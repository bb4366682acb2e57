//! Counts of what became of rows, of one rank and of all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tercet_protocol::says::mine::{KnownElsewhere, Mined, Quantiles};

use super::candidates::{Candidates, Drawn};

/// The parts of the range that are counted apart.
const PARTS: usize = 10;

/// Counts. Those of several ranks add up to the same whichever had which row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    rows: u64,
    dropped: u64,
    widened: u64,
    short: u64,
    without: u64,
    removed: BTreeMap<String, u64>,
    /// By rank, from 0.
    ranks: BTreeMap<usize, u64>,
    scores: Values,
    positive_scores: Values,
    rows_known_elsewhere: u64,
    ranks_known_elsewhere: u64,
    answers_known_elsewhere: u64,
}

/// How often each value occurs, to two digits.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Values(BTreeMap<i16, u64>);

impl Tally {
    /// Adds a row.
    pub fn add(&mut self, candidates: &Candidates, drawn: &Drawn, positive_scores: &[f32], wanted: usize) {
        self.rows += 1;
        for reason in candidates.removed.iter().chain(&drawn.removed) {
            *self.removed.entry(reason.name().to_owned()).or_default() += 1;
        }
        if let Some((ranks, answers)) = candidates.known_elsewhere {
            self.rows_known_elsewhere += 1;
            self.ranks_known_elsewhere += ranks;
            self.answers_known_elsewhere += answers;
        }
        positive_scores.iter().for_each(|score| self.positive_scores.add(*score));
        self.dropped += u64::from(drawn.is_dropped);
        if drawn.is_dropped {
            return;
        }
        self.widened += u64::from(drawn.is_widened);
        self.short += u64::from(drawn.picked.len() < wanted);
        self.without += u64::from(drawn.picked.is_empty());
        for (rank, hit) in &drawn.picked {
            *self.ranks.entry(*rank).or_default() += 1;
            self.scores.add(hit.score);
        }
    }

    /// Adds another's.
    pub fn add_all(&mut self, other: &Self) {
        self.rows += other.rows;
        self.dropped += other.dropped;
        self.widened += other.widened;
        self.short += other.short;
        self.without += other.without;
        other.removed.iter().for_each(|(reason, count)| *self.removed.entry(reason.clone()).or_default() += count);
        other.ranks.iter().for_each(|(rank, count)| *self.ranks.entry(*rank).or_default() += count);
        self.scores.add_all(&other.scores);
        self.positive_scores.add_all(&other.positive_scores);
        self.rows_known_elsewhere += other.rows_known_elsewhere;
        self.ranks_known_elsewhere += other.ranks_known_elsewhere;
        self.answers_known_elsewhere += other.answers_known_elsewhere;
    }

    /// As it is reported. Negatives were drawn from `range`.
    pub fn mined(&self, range: std::ops::Range<usize>) -> Mined {
        let mut by_tenth = vec![0; PARTS + 1];
        for (rank, count) in &self.ranks {
            let part = (rank.saturating_sub(range.start)) * PARTS / range.len().max(1);
            by_tenth[part.min(PARTS)] += count;
        }
        let ranks = self.ranks.iter().map(|(rank, count)| ((rank + 1) as f64, *count));
        let (ranks_seen, answers) = (self.ranks_known_elsewhere, self.answers_known_elsewhere);
        Mined {
            rows: self.rows,
            dropped: self.dropped,
            widened: self.widened,
            short: self.short,
            without: self.without,
            negatives: self.ranks.values().sum(),
            removed: self.removed.clone(),
            ranks: quantiles(ranks),
            ranks_by_tenth: by_tenth,
            scores: self.scores.quantiles(),
            positive_scores: self.positive_scores.quantiles(),
            known_elsewhere: KnownElsewhere {
                rows: self.rows_known_elsewhere,
                ranks: ranks_seen,
                answers,
                rate: (ranks_seen > 0).then(|| answers as f64 / ranks_seen as f64),
            },
        }
    }
}

impl Values {
    /// The upper half of the number's bits, in the order of numbers.
    fn add(&mut self, value: f32) {
        let bits = ((value.to_bits() >> 16) as u16).cast_signed();
        let key = if bits < 0 { !bits ^ i16::MIN } else { bits };
        *self.0.entry(key).or_default() += 1;
    }

    fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|(key, count)| *self.0.entry(*key).or_default() += count);
    }

    fn quantiles(&self) -> Option<Quantiles> {
        let value = |key: i16| {
            let bits = if key < 0 { !(key ^ i16::MIN) } else { key };
            // The middle of what has this upper half.
            let value = f32::from_bits(u32::from(bits.cast_unsigned()) << 16 | 0x8000);
            if key == 0 || key == -1 { 0.0 } else { format!("{value:.2e}").parse().unwrap_or(f64::from(value)) }
        };
        quantiles(self.0.iter().map(|(key, count)| (value(*key), *count)))
    }
}

/// The quantiles of values in order, each with how often it occurs.
fn quantiles(values: impl Iterator<Item = (f64, u64)>) -> Option<Quantiles> {
    let values: Vec<(f64, u64)> = values.collect();
    let all: u64 = values.iter().map(|(_, count)| count).sum();
    let at = |share: f64| {
        let wanted = ((all as f64 * share).ceil() as u64).clamp(1, all);
        let mut so_far = 0;
        values.iter().find(|(_, count)| {
            so_far += count;
            so_far >= wanted
        })
    };
    let at = |share: f64| at(share).map_or(f64::NAN, |(value, _)| *value);
    (all > 0).then(|| Quantiles {
        min: at(0.0),
        p10: at(0.1),
        p25: at(0.25),
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        max: at(1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_two_digits_whatever_the_sign() {
        let mut values = Values::default();
        (-500..=500).for_each(|i| values.add(i as f32 / 100.0));
        let found = values.quantiles().unwrap();
        let near = |found: f64, expected: f64| (found - expected).abs() <= 0.01 * expected.abs() + 0.02;
        for (found, expected) in [
            (found.min, -5.0),
            (found.p10, -4.0),
            (found.p25, -2.5),
            (found.p50, 0.0),
            (found.p75, 2.5),
            (found.p90, 4.0),
            (found.max, 5.0),
        ] {
            assert!(near(found, expected), "{found} for {expected}");
        }
        assert_eq!(Values::default().quantiles(), None);
        assert_eq!(quantiles([(3.0, 1), (4.0, 9)].into_iter()).unwrap().p10, 3.0);
    }
}
