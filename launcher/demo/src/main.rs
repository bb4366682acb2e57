//! `tercet-demo`, which `make demo` builds and starts: from nothing to a model with three heads, on real text, in
//! minutes on two CPU cores.
//!
//! It fetches Debian's manual pages in 25 languages, trains a tokenizer, measures the untrained model, trains it in two
//! stages (dense only; then all three heads with mined negatives) and measures again. Everything that Tercet does is
//! done by `tercet` itself, with commands that a user would type, and lies in one run folder afterwards.
//!
//! Not here: anything that training needs. The measures of [`bm25`] and [`summary`] are the demo's yardstick only.

mod bm25;
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
mod tokenizer;

use std::io::{self, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

/// Trains a small model on Debian's manual pages in many languages, and shows how much better it got.
#[derive(Debug, Parser)]
#[command(name = "tercet-demo", version, max_term_width = 110)]
struct DemoArgs {
    /// The run folder; one that exists is moved aside
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    out: PathBuf,
    /// Where downloaded manual pages are kept; default: tercet/manpages in the user's cache folder
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Train on your own text instead: a folder with JSON Lines (.jsonl, .jsonl.gz, .jsonl.zst) of rows
    /// {"query": …, "pos": ["…"]}
    #[arg(long, value_name = "FOLDER")]
    corpus: Option<PathBuf>,
    /// Ranks (worker processes) to start
    #[arg(short = 'n', long = "ranks", value_name = "RANKS", default_value = "2")]
    ranks: NonZeroUsize,
}

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

/// Writes a line to standard output. A reader that has seen enough (`| head`) is no error; a full disk is one.
fn tell(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("writing to standard output"),
        _ => Ok(()),
    }
}
