//! `memory_budget`: bytes, a size with its unit, or "auto".

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The memory that a rank may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBudget {
    /// This number of bytes, the program and its weights included.
    Bytes(u64),
    /// What the run itself takes, and of the memory that is free when it begins all of a rank's GPU, or nine tenths of
    /// a machine's, divided evenly among its ranks.
    Auto,
}

const UNITS: [(&str, u64); 6] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

impl MemoryBudget {
    /// Reads bytes, a size with its unit, or "auto".
    pub fn parse(text: &str) -> Option<Self> {
        if text == "auto" {
            return Some(Self::Auto);
        }
        let (number, unit) =
            UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes))).unwrap_or((text, 1));
        let bytes = number.trim().parse::<f64>().ok()? * unit as f64;
        (bytes >= 1.0 && bytes < u64::MAX as f64).then_some(Self::Bytes(bytes as u64))
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Bytes(bytes) => match UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit)) {
                Some((name, unit)) => write!(f, "{}{name}", bytes / unit),
                None => write!(f, "{bytes}"),
            },
        }
    }
}

impl Serialize for MemoryBudget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemoryBudget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Typed;
        impl Visitor<'_> for Typed {
            type Value = MemoryBudget;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes, a size such as \"12GiB\", or \"auto\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<MemoryBudget, E> {
                MemoryBudget::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<MemoryBudget, E> {
                self.visit_str(&bytes.to_string())
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<MemoryBudget, E> {
                self.visit_str(&bytes.to_string())
            }
        }
        deserializer.deserialize_any(Typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_people_write_them() {
        for (text, budget) in [
            ("auto", Some(MemoryBudget::Auto)),
            ("12GiB", Some(MemoryBudget::Bytes(12 << 30))),
            ("1.5 GB", Some(MemoryBudget::Bytes(1_500_000_000))),
            ("4096", Some(MemoryBudget::Bytes(4096))),
            ("0", None),
            ("-3GiB", None),
            ("12 gigs", None),
            ("NaN", None),
        ] {
            assert_eq!(MemoryBudget::parse(text), budget, "{text}");
        }
        for text in ["auto", "12GiB", "1500MB", "4097"] {
            assert_eq!(MemoryBudget::parse(text).unwrap().to_string(), text);
        }
    }
}
