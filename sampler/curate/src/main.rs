//! `tercet-curate`, which `tercet import`, `tercet curate` and `tercet synthesize` start.

use std::io::{self, Write};

use clap::Parser;

use tercet_curate::args::{Cli, Command};
use tercet_curate::{curation, import, synthesis};

fn main() {
    let done = match Cli::parse().command {
        Command::Import(what) => import::run(&what.kind),
        Command::Curate(what) => curation::run(&what),
        Command::Synthesize(what) => synthesis::run(&what),
    };
    let done = match done {
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
