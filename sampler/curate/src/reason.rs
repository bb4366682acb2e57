//! Why a pair is no training row.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a rule that a pair breaks, as the report and the names of samples have it: letters, digits, `_`, `.` and
/// `-` alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    /// The rule `name`.
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The rule `name`, whose characters are such.
    pub const fn of(name: String) -> Self {
        Self(Cow::Owned(name))
    }

    /// The rule `rule` about `what`, which is put into the characters that a name may have.
    pub fn about(rule: &str, what: &str) -> Self {
        let kept = |c: char| if c.is_alphanumeric() || "_.-".contains(c) { c } else { '_' };
        Self(Cow::Owned(format!("{rule}-{}", what.chars().map(kept).collect::<String>())))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
