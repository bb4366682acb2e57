//! Whether a query's passage is relevant, by a model: ranks index and search, this program asks them.

use serde::{Deserialize, Serialize};

/// `[relevance]` of a curation's recipe.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelevanceRecipe {}
