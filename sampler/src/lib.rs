//! Text → token store → plan → batch.
//!
//! [`LineReader`] reads lines of any text file. [`for_each_object`] reads objects from JSON Lines, Parquet or Arrow,
//! and [`RowReader`] training rows. [`TextTokenizer`] turns texts into token ids. [`prepare()`] does both for whole
//! corpora and writes a [`Store`], which is memory-mapped and returns any row in constant time.
//!
//! A [`Plan`] says which rows each step takes, [`deal()`] divides them among the ranks, and [`Prefetcher`] reads a
//! rank's batches ahead of training. [`lay_out`] cuts a rank's texts into sub-batches.
//!
//! This crate knows nothing of tensors, MPI or models.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod columns;
mod deal;
mod error;
mod eval_folder;
mod guarded;
mod identity;
mod layout;
mod lines;
mod place;
mod plan;
mod prefetch;
mod prepare;
mod records;
mod rows;
mod share;
mod special;
mod store;
mod text_input;
mod tokenize;

pub use batch::{DealtBatch, ShareLens, deal_batch, deal_global, read_dealt, read_share};
pub use deal::{Deal, contiguous_share, deal, text_cost};
pub use error::{PrepareError, RowError, StoreError, TokenizeError};
pub use eval_folder::{EvalFolder, NamedBy, check_evaluation};
pub use guarded::guarded;
pub use identity::{TextIds, text_id};
pub use layout::{SubBatchLayout, SubBatchLimit, lay_out};
pub use lines::{
    LineReader, LinesOf, PackedWriter, Unpacked, json_fields, json_object, plain_or_packed, unpacked, unpacked_name,
    utf8,
};
pub use place::ReadAt;
pub use plan::hash;
pub use plan::{
    Cell, CellSize, Choice, GlobalBatch, GroupSize, Permutation, Phase, Plan, PlanError, Policy, Schedule,
    ScheduledStep, Source, agreed_prefixes,
};
pub use prefetch::{BATCHES_AHEAD, Prefetcher};
pub use prepare::{
    Companions, Long, OnError, PrepareInput, PrepareOptions, PrepareProgress, PrepareReport, Skipped, TextOptions,
    detect_language, is_unfinished, prepare, prepare_with,
};
pub use records::{for_each_object, is_of_objects, must_be_texts};
pub use rows::{Row, RowReader, WrittenRow, WrittenRows, unknown_type};
pub use share::{Batch, Origin, RowId, Share};
pub use special::SpecialTokens;
pub use store::{
    DatasetMeta, DatasetWriter, FileMeta, Holds, LanguageMeta, Manifest, Shape, ShardMeta, SourceMeta, Store,
    StoreSettings, StoreWriter, StoredRow, TokenRow, partial_of, write_durably,
};
pub use text_input::TextInput;
pub use tokenize::{TextTokenizer, not_in_table};
