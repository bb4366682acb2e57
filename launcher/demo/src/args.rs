//! What can be typed.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

/// Trains a small model on Debian's manual pages in many languages, and shows how much better it got.
#[derive(Debug, Parser)]
#[command(name = "tercet-demo", version, max_term_width = 110)]
pub struct DemoArgs {
    /// The run folder; one that exists is moved aside
    #[arg(long, value_name = "DIR", default_value = "runs/demo")]
    pub out: PathBuf,
    /// Where downloaded manual pages are kept; default: tercet/manpages in the user's cache folder
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Train on your own text instead: a folder with JSON Lines (.jsonl, .jsonl.gz, .jsonl.zst) of rows
    /// {"query": …, "pos": ["…"]}
    #[arg(long, value_name = "FOLDER")]
    pub corpus: Option<PathBuf>,
    /// Ranks (worker processes) to start
    #[arg(short = 'n', long = "ranks", value_name = "RANKS", default_value = "2")]
    pub ranks: NonZeroUsize,
}
