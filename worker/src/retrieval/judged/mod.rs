//! Queries whose relevant documents are known, and how well ranked lists answer them.

mod answers;
mod evaluate;
mod folder;
mod metrics;
mod qrels;

pub use evaluate::{Evaluation, Figures, evaluate};
pub use folder::{Dataset, Query, find, folder_name, read_queries, required_id};
pub use qrels::Judgments;
