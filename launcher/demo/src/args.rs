//! What can be typed.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Parser;
use tercet_configs::NvidiaDriver;

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
    /// Train on your own text instead: a folder with JSON Lines (.jsonl, .jsonl.gz, .jsonl.zst), there or in folders
    /// below it, of rows {"query": …, "pos": ["…"]}
    #[arg(long, value_name = "FOLDER")]
    pub corpus: Option<PathBuf>,
    /// Ranks (worker processes) to start; default: 2, or 1 on a machine with one NVIDIA GPU
    #[arg(short = 'n', long = "ranks", value_name = "RANKS")]
    pub ranks: Option<NonZeroUsize>,
    /// Only write the text: pages, training rows, held-out tasks and a tokenizer, for a pipeline of one's own
    #[arg(long)]
    pub text_only: bool,
    /// Pieces of the tokenizer, special tokens included; the demo's model has room for exactly the default
    #[arg(long, value_name = "N", default_value_t = 16_000, requires = "text_only")]
    pub pieces: u32,
}

impl DemoArgs {
    /// As asked, else two, so that ranks have something to exchange; but each needs a GPU where there are any.
    pub fn num_ranks(&self) -> NonZeroUsize {
        let driver = NvidiaDriver::look(Path::new("/")).unwrap_or_default();
        let gpus = driver.usable(std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()).num;
        self.ranks.unwrap_or_else(|| default_ranks(gpus))
    }
}

fn default_ranks(num_gpus: usize) -> NonZeroUsize {
    const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
    NonZeroUsize::new(num_gpus).map_or(TWO, |gpus| gpus.min(TWO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_has_a_gpu_of_its_own_where_there_are_any() {
        assert_eq!([0, 1, 2, 8].map(|gpus| default_ranks(gpus).get()), [2, 1, 2, 2]);
        let typed = |words: &[&str]| DemoArgs::parse_from(["tercet-demo"].iter().chain(words)).num_ranks().get();
        assert_eq!(typed(&["-n", "5"]), 5);
    }
}
