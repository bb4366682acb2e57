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
    pub price_in: Option<f64>,
    /// The price of a million tokens of an answer.
    pub price_out: Option<f64>,
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
            requests: self.requests.saturating_add(other.requests),
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
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
        self.tokens_in.saturating_add(self.tokens_out)
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
        for (key, number) in [("price_in", self.price_in), ("price_out", self.price_out), ("cost", self.cost)] {
            if number.is_some_and(|number| !(0.0..=1e9).contains(&number)) {
                return Err((format!("caps.{key}"), "0 to 1,000,000,000 is expected".into()));
            }
        }
        if self.cost.is_none() {
            return Ok(());
        }
        match (self.price_in, self.price_out) {
            (Some(price_in), Some(price_out)) if price_in + price_out > 0.0 => Ok(()),
            (Some(_), Some(_)) => Err(("caps.cost".into(), "with both prices 0 nothing has a cost".into())),
            _ => Err(("caps.cost".into(), format!("nothing has a cost without prices: {}", self.missing_prices()))),
        }
    }

    /// Which prices are not given, in words; empty if both are.
    fn missing_prices(&self) -> String {
        match (self.price_in, self.price_out) {
            (Some(_), Some(_)) => String::new(),
            (None, Some(_)) => "caps.price_in is not given".to_owned(),
            (Some(_), None) => "caps.price_out is not given".to_owned(),
            (None, None) => "caps.price_in and caps.price_out are not given".to_owned(),
        }
    }

    /// What it costs, if both prices are given.
    pub fn cost(&self, used: Used) -> Option<Cost> {
        // A price for a million tokens is as many 10⁻¹² for a token as it has millionths.
        let part = |tokens: u64, price: f64| u128::from(tokens) * (price * 1e6).ceil() as u128;
        Some(Cost(part(used.tokens_in, self.price_in?) + part(used.tokens_out, self.price_out?)))
    }

    /// What it costs, or why nobody knows.
    pub fn cost_in_words(&self, used: Used) -> String {
        match self.cost(used) {
            Some(cost) => format!("cost {cost}"),
            None => format!("cost unknown ({})", self.missing_prices()),
        }
    }

    /// Whether tokens have a limit, directly or by their cost.
    pub fn limit_tokens(&self) -> bool {
        self.tokens.is_some() || self.cost.is_some()
    }

    /// The limit that `used` is beyond, in words.
    pub fn beyond(&self, used: Used) -> Option<String> {
        if let Some(cap) = self.requests.filter(|&cap| used.requests > cap) {
            return Some(format!("caps.requests = {cap}"));
        }
        if let Some(cap) = self.tokens.filter(|&cap| used.tokens() > cap) {
            return Some(format!("caps.tokens = {cap}"));
        }
        let cost = self.cost(used).unwrap_or_default();
        let cap = self.cost.filter(|&cap| cost > Cost((cap * 1e12).floor() as u128));
        cap.map(|cap| format!("caps.cost = {cap}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_and_limits_may_be_reached() {
        let caps = Caps { cost: Some(0.3), price_in: Some(0.1), price_out: Some(0.2), requests: Some(3), tokens: None };
        let used = Used { requests: 3, tokens_in: 1_000_000, tokens_out: 1_000_000 };
        assert_eq!(caps.cost_in_words(used), "cost 0.3000");
        assert_eq!(caps.beyond(used), None);
        let one_more = |requests, tokens_in| used.plus(Used { requests, tokens_in, tokens_out: 0 });
        assert_eq!(caps.beyond(one_more(0, 1)), Some("caps.cost = 0.3".into()));
        assert_eq!(caps.beyond(one_more(1, 0)), Some("caps.requests = 3".into()));
        assert_eq!(one_more(1, 5).minus(used), Used { requests: 1, tokens_in: 5, tokens_out: 0 });
    }
}
