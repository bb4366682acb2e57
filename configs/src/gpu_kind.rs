//! Kinds of GPU that a plan can be made for without one. What they do is the plan's to know.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A kind of GPU, by the name that is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuKind {
    /// A100 with 80 GB.
    A100Of80,
    /// A100 with 40 GB.
    A100Of40,
    /// A800 with 80 GB.
    A800Of80,
    /// H100 with 80 GB.
    H100,
    /// H200.
    H200,
}

impl GpuKind {
    /// All that are known. Where a card is made with several memories, the largest comes first.
    pub const ALL: [Self; 5] = [Self::A100Of80, Self::A100Of40, Self::A800Of80, Self::H100, Self::H200];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::A100Of40 => "a100-40",
            Self::A100Of80 => "a100-80",
            Self::A800Of80 => "a800-80",
            Self::H100 => "h100",
            Self::H200 => "h200",
        }
    }
}

impl FromStr for GpuKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || format!("expected one of {}", Self::ALL.map(Self::name).join(", "));
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(known)
    }
}

impl Display for GpuKind {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
#[test]
fn a_kind_is_known_by_its_name_and_others_are_listed() {
    assert!(GpuKind::ALL.iter().all(|kind| kind.name().parse() == Ok(*kind)));
    let error = "v100".parse::<GpuKind>().unwrap_err();
    assert_eq!(error, "expected one of a100-80, a100-40, a800-80, h100, h200");
}
