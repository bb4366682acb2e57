//! What can be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Ten minutes that settle what this machine's GPUs do with Tercet; ends with 0 only if everything ran and is right.
#[derive(Debug, Parser)]
#[command(name = "tercet-test-gpu", version, max_term_width = 110)]
pub struct Args {
    /// Where the page and the JSON file go [default: runs/test-gpu-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Do these parts alone; a list with commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<String>,
    /// What the whole may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub limit_secs: u64,
    /// Models and texts of toy size, for tests of this program itself: its figures say nothing of a card
    #[arg(long)]
    pub small: bool,
    /// Compute the CPU's numbers that GPUs are compared with, and write them to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "small"])]
    pub write_cpu_numbers: Option<PathBuf>,
    /// What this program starts itself for
    #[command(subcommand)]
    pub itself: Option<Itself>,
}

/// What the program does as a rank of its own.
#[derive(Debug, Subcommand)]
pub enum Itself {
    /// One rank of the operations between GPUs
    #[command(hide = true)]
    Rank {
        /// `operations` or `bandwidth`
        part: String,
    },
}
