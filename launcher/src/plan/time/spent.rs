//! What a card spends on operations: a roofline for each kind (Williams et al., 2009, doi 10.1145/1498765.1498785).

use std::iter::Sum;
use std::ops::{Add, Mul};

use serde::Serialize;

/// Seconds by kind of operation, and what the host has to launch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Matrix products.
    pub products: f64,
    /// Attention's own kernel.
    pub attention: f64,
    /// Everything that only reads and writes the card's memory.
    pub memory: f64,
    /// Launches, a number.
    pub launches: f64,
}

/// Seconds of a step's computing by what they go to. They sum to the computing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct KindSecs {
    /// Matrix products.
    pub products_secs: f64,
    /// Attention's own kernel.
    pub attention_secs: f64,
    /// Traffic with the card's memory beside these.
    pub memory_secs: f64,
    /// Where the host asks for operations more slowly than the card does them.
    pub launch_secs: f64,
}

impl Spent {
    /// The seconds of a phase, whose operations the host launches one after the other while the card computes.
    pub fn by_kind(&self, launch_secs: f64) -> KindSecs {
        let busy = self.products + self.attention + self.memory;
        KindSecs {
            products_secs: self.products,
            attention_secs: self.attention,
            memory_secs: self.memory,
            launch_secs: (self.launches * launch_secs - busy).max(0.0),
        }
    }
}

impl KindSecs {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.products_secs + self.attention_secs + self.memory_secs + self.launch_secs
    }
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            products: self.products + other.products,
            attention: self.attention + other.attention,
            memory: self.memory + other.memory,
            launches: self.launches + other.launches,
        }
    }
}

impl Sum for Spent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

impl Mul<f64> for Spent {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            products: self.products * times,
            attention: self.attention * times,
            memory: self.memory * times,
            launches: self.launches * times,
        }
    }
}

impl Add for KindSecs {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            products_secs: self.products_secs + other.products_secs,
            attention_secs: self.attention_secs + other.attention_secs,
            memory_secs: self.memory_secs + other.memory_secs,
            launch_secs: self.launch_secs + other.launch_secs,
        }
    }
}

impl Mul<f64> for KindSecs {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            products_secs: self.products_secs * times,
            attention_secs: self.attention_secs * times,
            memory_secs: self.memory_secs * times,
            launch_secs: self.launch_secs * times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_takes_the_cards_time_or_the_hosts() {
        let spent = Spent { products: 3.0, attention: 1.0, memory: 2.0, launches: 100.0 };
        assert_eq!(spent.by_kind(0.05).total(), 6.0);
        let slow_host = spent.by_kind(0.1);
        assert_eq!((slow_host.launch_secs, slow_host.total()), (4.0, 10.0));
        let twice: Spent = [spent, spent].into_iter().sum();
        assert_eq!((twice, twice.by_kind(0.1)), (spent * 2.0, slow_host * 2.0));
    }
}
