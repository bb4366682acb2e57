//! A corpus as blocks on disk, and exact ranked lists from them.
//!
//! [`BlockBuilder`] puts passages into a file, [`Index`] maps the files of a folder. [`Block::score_lexical`] and
//! [`Block::score_bm25`] score by postings, [`TopHits`] keeps the best, [`fuse`] puts lists together, [`run_lines`]
//! writes them. [`Answers`] are looked for in texts. docs/know/retrieval.md has the formats and the order of ties.
//!
//! This crate knows nothing of tensors, MPI or models: what encodes texts and multiplies vectors is the worker's.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answers;
mod block;
mod bm25;
mod build;
mod columns;
mod error;
mod fuse;
mod hits;
mod index;
mod lexical;
mod manifest;
mod number;
mod postings;
mod run;
mod shingles;
mod tensors;
mod texts;
mod words;

pub use answers::{Answers, cleaned};
pub use block::Block;
pub use bm25::{Bm25, DocLengths};
pub use build::{BlockBuilder, Contents, Passage};
pub use columns::Column;
pub use error::IndexError;
pub use fuse::fuse;
pub use hits::{Hit, Ids, TopHits, rank_order};
pub use index::Index;
pub use lexical::LexicalWeights;
pub use manifest::{
    BLOCKS, BlockMeta, Corpus, Encoding, GRAIN, MANIFEST, Manifest, SETTINGS, Settings, WeightsOf, block_len,
    block_name, differences,
};
pub use number::{Numbers, Stored};
pub use postings::{TokenWeights, WordWeights};
pub use run::run_lines;
pub use shingles::Shingles;
pub use words::words;
