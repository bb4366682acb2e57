//! What `tercet-worker` can be asked to do.
//!
//! Each command is a struct of arguments ([`tercet_protocol`]) and a `run` that every rank calls. Ranks share the texts; rank 0
//! alone writes files and standard output. Every rank reads the input files itself, so that a mistake in them ends all
//! ranks with the same error.

pub mod bench;
pub mod doctor;
pub mod encode;
mod error;
pub mod eval;
mod given_batch;
pub mod measure;
pub mod mine;
mod output;
mod peak;
mod prefixes;
mod records;
pub mod step;
mod texts;
mod vectors;

pub use error::TaskError;

use tercet_cluster::Counted;
use tercet_configs::ExitCode;
use tercet_protocol::Command;

/// Does what was asked, and says what the process ends with. Every rank calls it.
///
/// # Errors
/// Whatever keeps it from being done.
pub fn run(command: &Command, ranks: &Counted) -> anyhow::Result<ExitCode> {
    match command {
        Command::Doctor(args) => return doctor::run(args, ranks),
        Command::Train(args) => return crate::run::run(args, ranks),
        Command::Measure(args) => measure::run(args, ranks),
        Command::Bench(args) => bench::run(args, ranks),
        Command::Step(args) => step::run(args, ranks),
        Command::Encode(args) => encode::run(args, ranks),
        Command::Eval(args) => eval::run(args, ranks),
        Command::Mine(args) => mine::run(args, ranks),
    }?;
    Ok(ExitCode::Success)
}
