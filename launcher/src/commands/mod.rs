//! The commands, each as thin as it can be: from what was typed to the room that does it, and to what is shown of it.

mod bench;
mod curate;
mod doctor;
mod dry_run;
mod encode;
mod eval;
mod export;
mod index;
mod mine;
mod plan;
mod prepare;
mod recipe;
mod report;
mod score;
mod search;
mod step;
mod submit;
pub mod train;

use crate::args::Command;

/// Does what was asked.
///
/// # Errors
/// Whatever keeps it from being done; [`crate::exit::code_of`] says what the process ends with.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Prepare(args) => prepare::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Train(args) => train::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Step(args) => step::run(args),
        Command::Encode(args) => encode::run(args),
        Command::Index(args) => index::run(args),
        Command::Search(args) => search::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Mine(args) => mine::run(args),
        Command::Score(args) => score::run(args),
        Command::Report(args) => report::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => curate::run("import", args),
        Command::Curate(args) => curate::run("curate", args),
        Command::Synthesize(args) => curate::run("synthesize", args),
    }
}
