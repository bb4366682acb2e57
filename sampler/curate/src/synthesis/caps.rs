//! Limits on requests, tokens and cost, and what has been used.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `[caps]`: limits over all runs with the same folder.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caps {
    /// Requests that are sent, those that are sent again among them.
    pub requests: Option<u64>,
    /// Tokens, in and out.
    pub tokens: Option<u64>,
    /// Cost, in the currency of the prices.
    pub cost: Option<f64>,
    /// The price of a million tokens of a prompt.
    pub price_in: f64,
    /// The price of a million tokens of an answer.
    pub price_out: f64,
}

/// What is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Requests.
    pub requests: u64,
    /// Tokens of prompts.
    pub tokens_in: u64,
    /// Tokens of answers.
    pub tokens_out: u64,
}

impl Used {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            tokens_in: self.tokens_in + other.tokens_in,
            tokens_out: self.tokens_out + other.tokens_out,
        }
    }

    /// This without a part of it.
    pub fn minus(self, part: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(part.requests),
            tokens_in: self.tokens_in.saturating_sub(part.tokens_in),
            tokens_out: self.tokens_out.saturating_sub(part.tokens_out),
        }
    }

    /// Tokens in and out.
    pub fn tokens(self) -> u64 {
        self.tokens_in + self.tokens_out
    }
}

/// An amount of money: 10⁻¹² of the currency, so that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u128);

impl Cost {
    /// The amount as a number.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e12
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}", self.as_f64())
    }
}

impl Caps {
    /// Says what is wrong with it: the key, and the reason.
    ///
    /// # Errors
    /// A number is negative, or a limit on cost has no prices.
    pub fn check(&self) -> Result<(), (String, String)> {
        let numbers = [("price_in", Some(self.price_in)), ("price_out", Some(self.price_out)), ("cost", self.cost)];
        for (key, number) in numbers {
            if number.is_some_and(|number| !(0.0..=1e9).contains(&number)) {
                return Err((format!("caps.{key}"), "0 to 1,000,000,000 is expected".into()));
            }
        }
        if self.cost.is_some() && self.price_in == 0.0 && self.price_out == 0.0 {
            return Err(("caps.cost".into(), "without price_in and price_out nothing has a cost".into()));
        }
        Ok(())
    }

    /// What it costs.
    pub fn cost(&self, used: Used) -> Cost {
        // A price for a million tokens is as many 10⁻¹² for a token as it has millionths.
        let part = |tokens: u64, price: f64| u128::from(tokens) * (price * 1e6).ceil() as u128;
        Cost(part(used.tokens_in, self.price_in) + part(used.tokens_out, self.price_out))
    }

    /// The limit that `used` is beyond, in words.
    pub fn beyond(&self, used: Used) -> Option<String> {
        if let Some(cap) = self.requests.filter(|&cap| used.requests > cap) {
            return Some(format!("caps.requests = {cap}"));
        }
        if let Some(cap) = self.tokens.filter(|&cap| used.tokens() > cap) {
            return Some(format!("caps.tokens = {cap}"));
        }
        let cap = self.cost.filter(|&cap| self.cost(used) > Cost((cap * 1e12).floor() as u128));
        cap.map(|cap| format!("caps.cost = {cap}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_and_limits_may_be_reached() {
        let caps = Caps { cost: Some(0.3), price_in: 0.1, price_out: 0.2, requests: Some(3), tokens: None };
        let used = Used { requests: 3, tokens_in: 1_000_000, tokens_out: 1_000_000 };
        assert_eq!(caps.cost(used).to_string(), "0.3000");
        assert_eq!(caps.beyond(used), None);
        let one_more = |requests, tokens_in| used.plus(Used { requests, tokens_in, tokens_out: 0 });
        assert_eq!(caps.beyond(one_more(0, 1)), Some("caps.cost = 0.3".into()));
        assert_eq!(caps.beyond(one_more(1, 0)), Some("caps.requests = 3".into()));
        assert_eq!(one_more(1, 5).minus(used), Used { requests: 1, tokens_in: 5, tokens_out: 0 });
    }
}
