//! `tercet-test-gpu`, which `make test-gpu` builds and starts: the ten minutes that settle what this machine's GPUs do.
//!
//! It drives `tercet` and `tercet-worker`, which lie beside it, as a user would, on models and texts that it makes
//! itself: nothing is fetched, and no Python is needed. Every part has a time limit of its own, and what fails does not
//! keep the rest from being done. What it compares with (the CPU's numbers) is in the program. At the end a folder has
//! a page for people and a JSON file that can be sent.
//!
//! It ends with 0 if everything that this machine allows ran and is right, with 1 if not, and with 2 where there is no
//! GPU or the programs are missing.
//!
//! Not here: tests that need no GPU. They run over stand-ins (`make test`), and so does this program, in small.

mod args;
mod cases;
mod compare;
mod found;
mod inputs;
mod look;
mod numbers;
mod parts;
mod programs;
mod rank;
mod recipes;
mod report;
mod sizes;
mod stage;
mod whole;

// What the ranks of cluster's tests do over a stand-in.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../cluster/tests/mpi/job.rs"]
mod job;
#[allow(clippy::unwrap_used)]
#[path = "../../../cluster/tests/nccl/on_gpu.rs"]
mod on_gpu;
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../cluster/tests/nccl/operations.rs"]
mod operations;
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../cluster/tests/mpi/rank_side.rs"]
mod rank_side;
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../../cluster/tests/mpi/started.rs"]
mod started;

use clap::Parser;

use args::{Args, Itself};

fn main() {
    let args = Args::parse();
    if let Some(Itself::Rank { part }) = &args.itself {
        std::process::exit(rank::run(part));
    }
    let code = whole::run(&args).unwrap_or_else(|error| {
        eprintln!("tercet-test-gpu: {error:#}");
        2
    });
    std::process::exit(code);
}
