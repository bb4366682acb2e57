//! Text → token store → plan → batch.
//!
//! [`RowReader`] reads the published trainer's JSON Lines, [`TextTokenizer`] turns texts into token ids,
//! [`prepare`](prepare::prepare) does both for whole corpora and writes a [`Store`], which is memory-mapped and
//! answers for any row in constant time.
//!
//! Not here: tensors, MPI, models.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod deal;
mod error;
mod plan;
mod prefetch;
mod special;
mod store;

pub use batch::{Batch, DealtBatch, deal_batch, read_share};
pub use deal::{Deal, contiguous_share, deal, text_cost};
pub use error::StoreError;
pub use plan::{
    Cell, Choice, GlobalBatch, GroupSize, Permutation, Plan, PlanError, Policy, Schedule, ScheduledStep,
};
pub use prefetch::Prefetcher;
pub use special::SpecialTokens;
pub use store::{DatasetMeta, FileMeta, Manifest, RowLengths, ShardMeta, SourceMeta, Store, StoredRow};
