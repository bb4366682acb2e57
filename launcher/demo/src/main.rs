//! `tercet-demo`, which `make demo` builds and starts: from nothing to a model with three heads, on real text, in
//! minutes on two CPU cores.
//!
//! It fetches Debian's manual pages in 25 languages, trains a tokenizer, and trains a model in the paper's three stages
//! (RetroMAE on texts; the dense head on pairs; all three heads with mined negatives). It measures before the first and
//! after each. Everything that Tercet does is done by `tercet` itself, with commands that a user would type, and lies
//! in one run folder afterwards.
//!
//! Not here: anything that training needs. [`summary`] only shows what `tercet eval` measures.

mod args;
mod child;
mod cjk;
mod commands;
mod corpus;
mod fail;
mod fetch;
mod mandoc;
mod pages;
mod phases;
mod source;
mod summary;
mod tell;
mod tokenizer;

use std::io::{self, Write};

use clap::Parser;

use args::DemoArgs;

fn main() {
    if let Err(error) = phases::run(&DemoArgs::parse()) {
        let message = tercet_configs::error_line(error.as_ref());
        if !message.is_empty() {
            // Nobody is left to be told that standard error is closed.
            _ = writeln!(io::stderr(), "tercet-demo: {message}");
        }
        std::process::exit(fail::code_of(&error));
    }
}
