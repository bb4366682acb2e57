//! The cost of an MPI collective between two ranks of one machine, as a multiple of copying the same bytes in memory.
//!
//! Both ranks copy at the same time, as both communicate at the same time. The figure to watch is the multiple: it says
//! how far MPI's shared-memory path is from the least possible cost of moving the data. `all_reduce` is MPI's own; `in
//! order` is ours, which adds in rank order. Each size's last line compares the two.

#![allow(clippy::unwrap_used)]

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use tercet_cluster::{Collective, MAX_MESSAGE_BYTES, Mpi, ReduceOp};

const NUM_RANKS: usize = 2;
/// Numbers of f32 elements: a step's loss terms, a block of dense vectors, a small model's gradients.
const LENS: [usize; 3] = [1 << 8, 1 << 18, 1 << 24];
const REPETITIONS: usize = 15;
const RANK_SIDE: &str = "TERCET_BENCH_RANK_SIDE";

fn main() -> ExitCode {
    if std::env::var_os(RANK_SIDE).is_some() {
        measure(&Mpi::join(MAX_MESSAGE_BYTES).unwrap());
        return ExitCode::SUCCESS;
    }
    let status = Command::new("mpirun")
        .args(["-n", &NUM_RANKS.to_string(), "--oversubscribe"])
        .arg(std::env::current_exe().unwrap())
        .env(RANK_SIDE, "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
        .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
        .status()
        .unwrap_or_else(|e| panic!("mpirun does not start ({e}): `make setup` installs it (openmpi-bin)"));
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(ranks: &dyn Collective) {
    let first = ranks.rank() == 0;
    if first {
        println!("{:>12} {:>12} {:>12} {:>14}", "bytes", "operation", "GB/s", "times a copy");
    }
    for len in LENS {
        let source = vec![1.0f32; len];
        let mut target = vec![0.0f32; len];
        let counts = vec![len / NUM_RANKS; NUM_RANKS];
        let part = &source[..len / NUM_RANKS];

        let copy = median(ranks, || target.copy_from_slice(std::hint::black_box(&source)));
        let all_reduce = median(ranks, || ranks.all_reduce(target.as_mut_slice().into(), ReduceOp::Sum).unwrap());
        // SAFETY: waited for at once.
        let in_order = median(ranks, || unsafe {
            ranks.start_all_reduce(target.as_mut_slice().into()).unwrap().wait().unwrap();
        });
        let all_gather =
            median(ranks, || ranks.all_gather(part.into(), target.as_mut_slice().into(), &counts).unwrap());
        let ring = median(ranks, || ranks.ring_exchange(source[..].into(), target.as_mut_slice().into()).unwrap());
        let bytes = len * size_of::<f32>();
        for (operation, time) in [
            ("copy", copy),
            ("all_reduce", all_reduce),
            ("in order", in_order),
            ("all_gather", all_gather),
            ("ring", ring),
        ] {
            if first {
                let rate = bytes as f64 / time.as_secs_f64() / 1e9;
                println!("{bytes:>12} {operation:>12} {rate:>12.2} {:>14.1}", time.div_duration_f64(copy));
            }
        }
        if first {
            println!("{bytes:>12} MPI's all-reduce takes {:.2} times ours", all_reduce.div_duration_f64(in_order));
        }
    }
}

/// The median time of `work` on this rank; both ranks start together each time.
fn median(ranks: &dyn Collective, mut work: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..REPETITIONS)
        .map(|_| {
            ranks.barrier().unwrap();
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[REPETITIONS / 2]
}
