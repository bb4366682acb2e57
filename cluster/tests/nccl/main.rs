//! Tests of the NCCL backend with real ranks, over a stand-in for NCCL and CUDA: this test binary starts itself under
//! `mpirun`.
//!
//! The backend is exactly the one that is shipped; the library under it is not NVIDIA's but the one in stand_in/, over
//! host memory. The tests show that the backend makes the right calls in the right order, and how it handles failures.
//! They show nothing about GPUs.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../mpi/job.rs"]
mod job;
mod library;
mod on_gpu;
mod operations;
mod punished;
#[allow(dead_code)]
#[path = "../mpi/rank_side.rs"]
mod rank_side;
#[allow(dead_code)]
#[path = "../mpi/started.rs"]
mod started;

use std::fs;
use std::path::Path;
use std::time::Duration;

use job::Job;
use library::stand_in;
use tercet_cluster::{Collective, MAX_MESSAGE_BYTES, Mpi, Nccl};

/// A failing rank ends its peers, at once on a quiet machine; otherwise they would stay for ten minutes.
const GONE_WITHIN: Duration = Duration::from_secs(200);

fn job(num_ranks: usize, part: &str) -> Job {
    Job::run_with(num_ranks, part, MAX_MESSAGE_BYTES, &stand_in(&[]))
}

#[test]
fn every_operation_on_one_to_four_ranks() {
    for num_ranks in 1..=4 {
        job(num_ranks, "operations").assert_well(num_ranks);
    }
}

/// Whatever the parts' lengths and the number of ranks, NCCL gets one call for all parts: none with a root, of which
/// there would be one for every rank.
#[test]
fn parts_of_any_lengths_are_one_call_for_all_ranks() {
    for num_ranks in 2..=4 {
        let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("parts-{num_ranks}-{}", std::process::id()));
        let variables = stand_in(&[("TERCET_STAND_IN_KINDS", report.to_str().unwrap())]);
        let job = Job::run_with(num_ranks, "parts", MAX_MESSAGE_BYTES, &variables);
        job.assert_well(num_ranks);
        let num: usize =
            job.lines_with(operations::NUM_PARTS).next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        let expected = format!("reduce-scatter {num} all-gather {num}");
        let found = fs::read_to_string(&report).unwrap();
        assert!(num > 4 && found.lines().count() == num_ranks, "{num}: {found}");
        found.lines().for_each(|line| assert_eq!(line.trim(), expected));
        fs::remove_file(report).unwrap();
    }
}

/// The stand-in or the backend notices, and the job ends soon, with a message.
#[test]
fn what_does_not_fit_together_ends_the_job_with_words() {
    for (part, words) in [
        ("counts_differ", ["start_all_reduce: NCCL 2.29.7 failed in", "calls differ: rank 0 all-reduce of 100"]),
        ("types_differ", ["invalid usage", "calls differ: rank 0 all-reduce of 100 of type 7"]),
        ("order_differs", ["calls differ: rank 0 all-reduce", "broadcast"]),
        ("collective_and_message", ["invalid usage", "message"]),
        ("uneven_ring", ["ring_exchange: bytes from rank", "expected 12, got 8"]),
        ("wrong_gpu", ["invalid argument", "memory of GPU 1, but the communicator's is 0"]),
        ("host_memory", ["invalid argument", "is not the memory of a GPU"]),
        ("late", ["not done after 1 s, the deadline (backend_deadline_secs)", "another rank has not started it"]),
        ("after_a_failure", ["NCCL was aborted after an earlier failure: start_all_reduce:", "calls differ"]),
    ] {
        let job = job(2, part);
        assert_eq!(job.exit_code, Some(3), "{part}: {job}");
        for word in words {
            assert!(job.stderr.contains(word), "{part} says nothing of {word:?}: {job}");
        }
        let named = (0..2).any(|rank| job.stderr.contains(&format!("rank {rank}/2 ")));
        assert!(named, "{part} names no rank: {job}");
        job.assert_gone_within(GONE_WITHIN);
    }
}

/// Mistakes that the backend cannot be made to commit are made directly, to show that the stand-in would notice.
#[test]
fn the_stand_in_punishes_what_nccl_would() {
    job(1, "punished").assert_well(1);
}

#[test]
fn a_job_that_cannot_have_nccl_says_why() {
    let run = |changes: &[(&'static str, &str)]| Job::run_with(2, "operations", MAX_MESSAGE_BYTES, &stand_in(changes));
    for (changes, code, words) in [
        (&[("NCCL_HOME", "/nowhere")][..], 3, "/nowhere/lib/libnccl.so.2: not there"),
        (&[("TERCET_STAND_IN_VERSION", "21602")], 3, "libnccl.so.2: is version 2.16.2"),
        (&[("TERCET_STAND_IN_GPUS", "0")], 3, "no CUDA-capable device is detected"),
        (&[("TERCET_STAND_IN_GPUS", "1")], 2, "drives the same GPU as rank 0"),
    ] {
        let job = run(changes);
        assert_eq!(job.exit_code, Some(code), "{changes:?}: {job}");
        assert!(job.stderr.contains(words), "{changes:?}: {job}");
        assert!(job.stderr.contains("cannot join the job: rank "), "{changes:?}: {job}");
    }
}

#[test]
#[ignore = "one rank of the other tests"]
fn rank_side() {
    let Ok(part) = std::env::var(job::PART) else { return };
    if part == "punished" {
        punished::run();
        return println!("{}", job::DONE);
    }
    let deadline = Duration::from_secs(if part == "late" { 1 } else { 60 });
    let ranks = match Nccl::join(Mpi::join(MAX_MESSAGE_BYTES).unwrap(), deadline) {
        Ok(ranks) => ranks,
        Err(error) => {
            say(&error);
            std::process::exit(error.exit_code().code());
        }
    };
    println!("{} {}", job::READY, std::process::id());
    if part == "operations" {
        rank_side::operations(&ranks);
        operations::run(&ranks);
    } else if part == "parts" {
        println!("{}: {}", operations::NUM_PARTS, operations::parts(&ranks, |number| number as f32));
    } else if let Err(error) = operations::misuse(&ranks, &part) {
        say(&error);
        ranks.abort(3);
    }
    ranks.barrier().unwrap();
    println!("{}", job::DONE);
}

/// Prints in one piece, because ranks that print at the same time share one pipe.
fn say(error: &dyn std::error::Error) {
    let line = format!("{error}\n");
    eprint!("{line}");
}
