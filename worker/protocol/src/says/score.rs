//! What `score` writes for each row.

use serde::{Deserialize, Serialize};

/// A row's positives, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowScores {
    /// The inner product of the dense vectors of the query and each positive.
    pub pos_scores: Vec<f32>,
    /// How many passages of the index score higher than each: all but the row's positives themselves, `top` at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub better: Option<Vec<usize>>,
}
