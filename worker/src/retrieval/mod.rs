//! Texts by a model: their representations, a corpus as an index, and exact ranked lists from it.
//!
//! - [`texts`]: texts → token ids → representations in host memory ([`vectors`]), with what stands before them
//!   ([`prefixes`]);
//! - [`corpus`]: the passages of a corpus, from whatever files it is in;
//! - [`indexing`]: a corpus → an index on disk, its passages by way of [`passages`];
//! - [`ranking`]: queries → ranked documents of an index;
//! - [`judged`]: data sets with judgments, and how well lists answer them.
//!
//! Formats and what needs no tensors are the crate `tercet_retrieval`'s.

mod ahead;
pub mod blocks;
pub mod corpus;
pub mod indexing;
pub mod judged;
mod mcls;
pub mod passages;
pub mod prefixes;
pub mod ranking;
pub mod texts;
pub mod vectors;
