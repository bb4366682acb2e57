//! `tercet`, the command people type: it checks what was asked, starts the ranks, shows their progress and passes on
//! how they ended. It holds no tensors; what computes is `tercet-worker`.

mod args;
mod bench;
mod doctor;
mod events;
mod exit;
mod inputs;
mod lengths;
mod noise;
mod picture;
mod place;
mod plan;
mod prepare;
mod progress;
mod run;
mod screen;
mod signals;
mod start;
mod step_table;
mod submit;
mod supervise;
mod watch;
mod worker_args;

use std::io::Write;

use clap::Parser;

use crate::args::{Cli, Command};

fn main() {
    let done = match Cli::parse().command {
        Command::Prepare(args) => prepare::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Train(args) => supervise::train(&args),
        Command::Submit(args) => submit::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Step(args) => run::step(&args),
        Command::Encode(args) => run::encode(&args),
        Command::Eval(args) => run::eval(&args),
        Command::Mine(args) => run::mine(&args),
    };
    if let Err(error) = done.and_then(|()| Ok(screen::check_output()?)) {
        let message = tercet_configs::error_line(error.as_ref());
        if !message.is_empty() {
            // Nobody is left to be told that standard error is closed.
            _ = writeln!(std::io::stderr(), "tercet: {message}");
        }
        std::process::exit(exit::code_of(&error));
    }
}
