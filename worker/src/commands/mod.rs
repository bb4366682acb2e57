//! What `tercet-worker` can be asked to do.
//!
//! Each command is a struct of arguments ([`tercet_protocol`]) and a `run` that every rank calls. Ranks share the
//! texts. Rank 0 alone writes to standard output. What all ranks must know of an input, they read themselves or hear of
//! from the one that read it, so that a mistake in it ends all ranks with the same error.

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
