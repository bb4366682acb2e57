//! How ranks end, and what the user reads then: exit codes and words, for one rank and under mpirun.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::stand_in::StandIn;

#[test]
fn the_workers_exit_codes_pass_through_and_its_words_stand_alone() {
    let lab = StandIn::new();
    for code in [2, 3, 4, 75, 101] {
        let words = "tercet-worker: rank 0: something is wrong";
        let script =
            format!("if [ ${{OMPI_COMM_WORLD_RANK:-0}} = 0 ]; then echo '{words}' >&2; exit {code}; fi; sleep 1000");
        for ranks in [1, 2] {
            let ran = lab.run(&format!("train r.toml -n {ranks}"), &script);
            assert_eq!(ran.code, Some(code), "{ranks} ranks: {}", ran.stderr);
            assert_eq!(ran.stderr, format!("{words}\n"), "{ranks} ranks");
        }
    }
}

#[test]
fn a_rank_that_a_signal_ends_is_a_machines_failure_with_words() {
    let lab = StandIn::new();
    for (signal, named) in [("KILL", "signal 9"), ("SEGV", "signal 11"), ("ABRT", "signal 6")] {
        let script =
            format!("ulimit -c 0; if [ ${{OMPI_COMM_WORLD_RANK:-1}} = 1 ]; then kill -{signal} $$; fi; sleep 1000");
        let ran = lab.run("train r.toml -n 1 --set restart.limit=0", &script);
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("tercet: tercet-worker was ended by ") && ran.stderr.contains(named), "{ran:?}");
        let ran = lab.run("train r.toml -n 2 --set restart.limit=0", &script);
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        // mpirun does not always name the rank.
        let named_rank = ["tercet: rank 1 on ", "tercet: a rank was ended "].iter().any(|s| ran.stderr.starts_with(s));
        assert!(named_rank && ran.stderr.contains(named), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn an_end_without_a_known_code_is_a_machines_failure() {
    let ran = StandIn::new().run("train r.toml -n 1 --set restart.limit=0", "echo kept >&2; exit 7");
    assert_eq!(ran.code, Some(3));
    assert_eq!(ran.stderr, "kept\ntercet: the ranks ended with code 7 and without a message\n");
}

#[test]
fn mpirun_starts_as_many_ranks_as_asked_also_beyond_the_cores() {
    let ran = StandIn::new().run("eval --model m --data d -n 9", "echo $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let mut ranks: Vec<&str> = ran.stdout.lines().collect();
    ranks.sort();
    assert_eq!(ranks, (0..9).map(|rank| format!("{rank} of 9")).collect::<Vec<_>>());
}
