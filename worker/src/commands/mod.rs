//! What `tercet-worker` can be asked to do.
//!
//! Each command is a struct of arguments ([`tercet_protocol`]) and a `run` that every rank calls. Ranks share the
//! texts; rank 0 alone writes files and standard output. Every rank reads the input files itself, so that a mistake in
//! them ends all ranks with the same error.

pub mod bench;
pub mod doctor;
mod dry_run;
pub mod encode;
pub mod eval;
mod given_batch;
mod given_texts;
pub mod index;
pub mod measure;
pub mod mine;
mod peak;
pub mod probe;
pub mod score;
pub mod search;
pub mod step;
