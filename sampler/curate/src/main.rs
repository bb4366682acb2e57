//! `tercet-curate`: from data as others publish them to what Tercet reads. `tercet import`, `tercet curate` and
//! `tercet synthesize` start it.
//!
//! [`import`] has a file a kind of labelled data set. [`curation`] makes rows of raw text: [`sources`] give pairs,
//! [`filters`] judge each, [`duplicates`] find what is there already, [`relevance`] asks a model. [`synthesis`] has
//! questions to long documents made by a language model. All read by [`input`] and write by [`output`], and what is
//! written is there whole or not at all.
//!
//! Not here: tokens, models, ranks. Whoever only trains needs none of this.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod curation;
mod duplicates;
mod error;
mod filters;
mod import;
mod input;
mod output;
mod pair;
mod reason;
mod relevance;
mod sources;
mod synthesis;

use std::io::{self, Write};

use clap::Parser;

use args::{Cli, Command};

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
