//! What `tercet-worker` can be asked to do.
//!
//! Each command is a struct of arguments ([`tercet_protocol`]) and a `run` that every rank calls. Ranks share the
//! texts; rank 0 alone writes files and standard output. Every rank reads the input files itself, so that a mistake in
//! them ends all ranks with the same error.

pub mod bench;
mod corpus;
pub mod doctor;
pub mod encode;
mod error;
pub mod eval;
mod given_batch;
mod given_texts;
pub mod index;
pub mod measure;
pub mod mine;
mod output;
mod peak;
mod prefixes;
pub mod probe;
mod ranking;
mod records;
pub mod search;
pub mod step;
mod texts;
mod vectors;

pub use error::CommandError;
