//! `tercet-curate`: from data as others publish them to what Tercet reads. `tercet import` starts it.
//!
//! [`import`] has a file a kind of data set. It reads by [`input`] and writes by [`output`], training rows or
//! evaluation folders, and what is written is there whole or not at all.
//!
//! Not here: tokens, models, ranks. Whoever only trains needs none of this.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod error;
mod import;
mod input;
mod output;

use std::io::{self, Write};

use clap::Parser;

use args::{Cli, Command};

fn main() {
    let Command::Import(what) = Cli::parse().command;
    let done = match import::run(&what.kind) {
        Ok(done) => done,
        Err(error) => {
            // Nobody is left to be told that standard error is closed.
            _ = writeln!(io::stderr(), "tercet: {}", tercet_configs::error_line(&error));
            std::process::exit(error.exit_code().code());
        }
    };
    // What was asked for is done, whoever hears of it.
    _ = writeln!(io::stdout(), "{done}");
}
