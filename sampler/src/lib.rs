//! Text → token store → plan → batch.
//!
//! - Text to token ids: [`LineReader`] reads lines of whatever file people bring; [`RowReader`] reads the published
//!   trainer's rows from JSON Lines, Parquet, Arrow files and folders of Hugging Face datasets; [`TextTokenizer`]
//!   tokenizes.
//! - Token ids to a store: [`prepare()`] does both for whole corpora and writes a [`Store`], which is memory-mapped and
//!   answers for any row in constant time.
//! - Store to batches: a [`Plan`] says which rows every step takes, [`deal_global`] which rank takes which of them,
//!   [`read_share`] reads a rank's texts, [`lay_out`] cuts them into sub-batches, and a [`Prefetcher`] reads steps
//!   ahead.
//!
//! Not here: tensors, MPI, models.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod deal;
mod error;
mod identity;
mod layout;
mod lines;
mod plan;
mod prefetch;
mod prepare;
mod rows;
mod special;
mod store;
mod tokenize;

pub use batch::{Batch, DealtBatch, RowId, ShareLens, deal_batch, deal_global, read_dealt, read_share};
pub use deal::{Deal, contiguous_share, deal, text_cost};
pub use error::{PrepareError, RowError, StoreError, TokenizeError};
pub use identity::{TextIds, text_id};
pub use layout::{SubBatchLayout, SubBatchLimit, TextGroup, lay_out};
pub use lines::{LineReader, LinesOf, PackedWriter, evident, json_object, plain_or_packed, unpacked_name, utf8};
pub use plan::{
    Cell, CellSize, Choice, GlobalBatch, GroupSize, Permutation, Phase, Plan, PlanError, Policy, Schedule,
    ScheduledStep, Source, agreed_prefixes,
};
pub use prefetch::{BATCHES_AHEAD, Prefetcher};
pub use prepare::{
    Companions, OnError, PrepareInput, PrepareOptions, PrepareProgress, PrepareReport, is_unfinished, prepare,
    prepare_with,
};
pub use rows::{NearKey, Row, RowReader, parse_row};
pub use special::SpecialTokens;
pub use store::{
    DatasetMeta, DatasetWriter, FileMeta, LanguageMeta, Manifest, Shape, ShardMeta, SourceMeta, Store, StoreSettings,
    StoreWriter, StoredRow, TokenRow, write_durably,
};
pub use tokenize::{TextTokenizer, not_in_table};
