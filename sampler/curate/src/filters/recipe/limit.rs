//! A bound of a rule, as a recipe has it: a number, or false.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A bound of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Limit {
    /// As published.
    #[default]
    Published,
    /// The rule is left out.
    Off,
    /// Another number.
    At(f64),
}

impl Limit {
    /// The bound, where `published` is the usual one.
    pub fn or(self, published: f64) -> Option<f64> {
        match self {
            Self::Published => Some(published),
            Self::Off => None,
            Self::At(bound) => Some(bound),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Published => serializer.serialize_none(),
            Self::Off => serializer.serialize_bool(false),
            Self::At(bound) => serializer.serialize_f64(*bound),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor)
    }
}

struct LimitVisitor;

impl Visitor<'_> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or false to leave the rule out")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Limit, E> {
        match value {
            false => Ok(Limit::Off),
            true => Ok(Limit::Published),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Limit, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Limit, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Limit, E> {
        match value >= 0.0 {
            true => Ok(Limit::At(value)),
            false => Err(E::custom(format!("{value} is no bound: 0 or more is expected, or false"))),
        }
    }
}
