//! `tercet`, the command people type: it checks what was asked, starts the ranks, shows their progress and passes on
//! how they ended. It holds no tensors; what computes is `tercet-worker`.

mod args;
mod events;
mod exit;
mod inputs;
mod start;
mod worker_args;

use clap::Parser;

fn main() {
    let _cli = args::Cli::parse();
}
