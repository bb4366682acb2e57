//! This program as one rank of its part `collectives`: what cluster/tests has ranks do over a stand-in, done on GPUs.

use std::time::Duration;

use tercet_cluster::{Collective, MAX_MESSAGE_BYTES, Mpi, Nccl};

use crate::{operations, rank_side};

/// A rank prints this when its part went well.
pub const DONE: &str = "part done";

/// What one operation may take: the part that starts the ranks has a limit of its own.
const DEADLINE: Duration = Duration::from_secs(40);

/// Plays `part`; the code to end with.
pub fn run(part: &str) -> i32 {
    let joined = Mpi::join(MAX_MESSAGE_BYTES).and_then(|ranks| Nccl::join(ranks, DEADLINE));
    let ranks = match joined {
        Ok(ranks) => ranks,
        Err(error) => {
            // In one piece: ranks share one pipe.
            let line = format!("tercet-test-gpu: {error}\n");
            eprint!("{line}");
            return 3;
        }
    };
    match part {
        "operations" => {
            rank_side::operations(&ranks);
            operations::run(&ranks);
        }
        "bandwidth" => operations::bandwidth(&ranks),
        _ => {
            eprintln!("tercet-test-gpu: there is no part {part:?} of a rank");
            return 2;
        }
    }
    if let Err(error) = ranks.barrier() {
        eprintln!("tercet-test-gpu: {error}");
        return 3;
    }
    println!("{DONE}");
    0
}
