//! `tercet`, the command people type: it checks what was asked, starts the ranks, shows their progress and passes on
//! how they ended. It holds no tensors; what computes is `tercet-worker`.

mod args;
mod commands;
mod exit;
mod export;
mod place;
mod plan;
mod report;
mod screen;
mod start;
mod submit;
mod supervise;

use std::io::Write;

use clap::Parser;

use crate::args::Cli;

fn main() {
    let done = commands::run(&Cli::parse().command);
    if let Err(error) = done.and_then(|()| Ok(screen::check_output()?)) {
        let message = tercet_configs::error_line(error.as_ref());
        if !message.is_empty() {
            // Nobody is left to be told that standard error is closed.
            _ = writeln!(std::io::stderr(), "tercet: {message}");
        }
        std::process::exit(exit::code_of(&error));
    }
}
