//! `ring_precision`: the type in which ranks give each other passages.

use serde::{Deserialize, Serialize};

/// The type of passages' representations, and of their gradients, on their way between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RingPrecision {
    /// That of the scores, which nothing rounds.
    #[default]
    Full,
    /// bfloat16: half as many bytes. All passages are rounded before they are scored, a rank's own too, so that scores
    /// do not depend on who has a passage. Their gradients are rounded at every hop.
    Bf16,
}

impl RingPrecision {
    /// The bytes of a number on its way, where one of the scores has `element_bytes`.
    pub fn bytes_of(self, element_bytes: usize) -> usize {
        match self {
            Self::Full => element_bytes,
            Self::Bf16 => 2,
        }
    }
}
