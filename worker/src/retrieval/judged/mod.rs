//! Queries whose relevant documents are known, and how well ranked lists answer them.

mod answers;
mod evaluate;
mod folder;
mod metrics;
mod names;
mod qrels;

pub use evaluate::{Evaluation, Figures, evaluate};
pub use folder::{Dataset, Query, read_queries};
pub use names::required_id;
pub use qrels::Judgments;
