//! `model.pooling`: how the dense head reads a text, which recipes and models' folders say.

use serde::{Deserialize, Serialize};

/// How the dense head reads a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The first token's hidden state.
    #[default]
    Cls,
    /// The mean over the text's tokens.
    Mean,
}

impl Pooling {
    /// As recipes name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Mean => "mean",
        }
    }
}
