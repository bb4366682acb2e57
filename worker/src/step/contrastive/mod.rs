//! The contrastive objective: queries against the passages of all ranks.

pub mod known_answers;
pub mod loss;
pub mod passes;
pub mod two_way;
