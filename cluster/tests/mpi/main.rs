//! Tests of the MPI backend with real ranks: this test binary starts itself again under `mpirun`.

#![allow(clippy::unwrap_used)]

mod job;
mod rank_side;
mod started;

use std::time::Duration;

use job::Job;

/// Message limits in bytes: nothing is split; pieces of one i64 or two f32; pieces that end within a part.
const MESSAGE_BYTES: [usize; 3] = [tercet_cluster::MAX_MESSAGE_BYTES, 8, 40];

/// A failing rank ends its peers, at once on a quiet machine; otherwise they would stay for ten minutes.
const GONE_WITHIN: Duration = Duration::from_secs(200);

#[test]
fn every_operation_on_one_to_four_ranks_whole_and_split() {
    for num_ranks in 1..=4 {
        for limit in MESSAGE_BYTES {
            Job::run(num_ranks, "operations", limit).assert_well(num_ranks);
        }
    }
}

/// Each block has 480,000 bytes, in one message or in five. MPI sends them only when the receiver waits for them, so a
/// ring of blocking sends would deadlock.
#[test]
fn a_ring_of_long_messages_does_not_block() {
    for limit in [tercet_cluster::MAX_MESSAGE_BYTES, 100_000] {
        Job::run(3, "long_ring", limit).assert_well(3);
    }
}

/// The parts are longer than what MPI sends without a receiver, whole and in pieces that end within an element.
#[test]
fn a_started_sum_is_taken_in_rank_order() {
    for num_ranks in 2..=4 {
        for limit in [tercet_cluster::MAX_MESSAGE_BYTES, 100_001] {
            Job::run(num_ranks, "long_sum", limit).assert_well(num_ranks);
        }
    }
}

/// Each misuse would leave the ranks out of step.
#[test]
fn operations_under_way_that_are_misused_end_the_job() {
    for (part, message) in [
        ("out_of_order", "waited for in the order in which they were started"),
        ("before_a_barrier", "waited for before one that blocks"),
        ("abandoned", "left the job with an operation under way"),
    ] {
        let job = Job::run(2, part, MESSAGE_BYTES[0]);
        assert_eq!(job.exit_code, Some(101), "{part}: {job}");
        assert!(job.stderr.contains(message), "{part}: {job}");
        job.assert_gone_within(GONE_WITHIN);
    }
}

#[test]
fn a_sum_of_floats_has_the_same_bits_on_every_rank_and_run() {
    // 3 and 4 ranks: unequal and equal halves of Open MPI's recursive doubling.
    for num_ranks in [3, 4] {
        let sums = |job: &Job| job.lines_with("bits").map(str::to_owned).collect::<Vec<_>>();
        let first = Job::run(num_ranks, "bits", MESSAGE_BYTES[0]);
        let lines = sums(&first);
        assert_eq!(lines.len(), num_ranks, "{first}");
        assert!(lines.iter().all(|line| *line == lines[0]), "ranks differ: {first}");
        assert_eq!(sums(&Job::run(num_ranks, "bits", MESSAGE_BYTES[0])), lines, "runs differ");
    }
}

#[test]
fn auto_is_solo_for_one_rank_and_mpi_for_several() {
    for (num_ranks, world_size) in [(1, "world of 1, local 0/1"), (2, "world of 2, local 1/2")] {
        let job = Job::run(num_ranks, "auto", MESSAGE_BYTES[0]);
        assert_eq!(job.exit_code, Some(0), "{job}");
        assert_eq!(job.lines_with(world_size).count(), 1, "{job}");
    }
}

#[test]
fn a_panic_ends_every_rank_with_101() {
    for part in ["panic", "panic_in_a_thread"] {
        let job = Job::run(3, part, MESSAGE_BYTES[0]);
        assert_eq!(job.exit_code, Some(101), "{job}");
        assert!(job.stderr.contains("the test's own panic"), "the panic's message is shown: {job}");
        assert!(job.stderr.contains("rank 1/3 "), "the rank is named: {job}");
        job.assert_gone_within(GONE_WITHIN);
    }
}

#[test]
fn abort_ends_every_rank_with_its_code() {
    for code in [2, 3, 4, 75] {
        let job = Job::run(2, &format!("abort {code}"), MESSAGE_BYTES[0]);
        assert_eq!(job.exit_code, Some(code), "{job}");
        job.assert_gone_within(GONE_WITHIN);
    }
}

#[test]
fn a_ring_whose_lengths_differ_says_so_and_does_not_hang() {
    let job = Job::run(3, "uneven_ring", MESSAGE_BYTES[0]);
    assert_eq!(job.exit_code, Some(3), "{job}");
    assert!(job.stderr.contains("ring_exchange: bytes from rank 1: expected 12, got 8"), "{job}");
    job.assert_gone_within(GONE_WITHIN);
}

/// One rank's part in the tests above.
#[test]
#[ignore = "not a test of its own: the others start it under mpirun"]
fn rank_side() {
    rank_side::run(&std::env::var(job::PART).expect("only the tests above start this one"));
}
