use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn beat(rank: usize, doing: &str, secs: f64) -> Beat {
    let (waits, saves) = (doing.starts_with("all-reduce"), doing.starts_with("writing"));
    let (host, phase) = (format!("gpu{:02}", rank / 8), "reduce".to_owned());
    let evaluates = false;
    Beat { rank, host, pid: 1, step: 4817, phase, doing: doing.into(), waits, saves, evaluates, secs, still_secs: 0.0 }
}

/// After a step, `secs` of which each rank gives signs of life as `doing` has it; none is silence.
fn after(
    world_size: usize,
    hang_secs: f64,
    secs: u32,
    doing: impl Fn(usize) -> Option<&'static str>,
) -> Option<Trouble> {
    let mut health = Health::new(world_size, hang_secs);
    (0..world_size).for_each(|rank| health.heard(beat(rank, "computing", 0.0)));
    health.stepped();
    (1..=secs).find_map(|sec| {
        let heard = (0..world_size).filter_map(|rank| Some(beat(rank, doing(rank)?, f64::from(sec))));
        heard.for_each(|beat| health.heard(beat));
        health.look(SECOND)
    })
}

fn words(trouble: Option<Trouble>) -> String {
    trouble.map(|trouble| trouble.words).unwrap_or_default()
}

#[test]
fn a_hang_names_who_holds_the_others_up() {
    let doing = |rank| Some(if rank == 13 { "reading batch 4817" } else { "all-reduce of bucket 3" });
    assert_eq!(after(96, 0.0, 60, doing), None);
    let expected = "rank 13 (gpu01): reading batch 4817 for 62 s; 95 ranks wait in all-reduce of bucket 3";
    assert_eq!(words(after(96, 0.0, 62, doing)), expected);
    assert!(words(after(96, 5.0, 6, doing)).starts_with("rank 13 (gpu01): reading batch 4817 for"));
}

#[test]
fn who_waits_for_its_gpu_holds_the_others_up() {
    let doing = |rank| Some(if rank == 5 { "waiting for its GPU" } else { "all-reduce of bucket 3" });
    let expected = "rank 5 (gpu00): waiting for its GPU in step 4817 (reduce) for 62 s; 7 ranks wait in all-reduce of \
                    bucket 3";
    assert_eq!(words(after(8, 0.0, 62, doing)), expected);
}

#[test]
fn who_is_stuck_in_an_operation_is_told_from_who_waits_in_it() {
    let words = |still: &[usize]| {
        let mut health = Health::new(4, 5.0);
        let trouble = (1..10).find_map(|sec| {
            let secs = f64::from(sec);
            let still_secs = |rank: usize| if still.contains(&rank) { secs } else { 0.0 };
            (0..4).for_each(|rank| {
                health.heard(Beat { still_secs: still_secs(rank), ..beat(rank, "all-reduce of bucket 1", secs) })
            });
            if sec == 1 {
                health.stepped();
            }
            health.look(SECOND)
        });
        words(trouble)
    };
    let expected = "rank 2 (gpu00): stuck in all-reduce of bucket 1 for 7 s; 3 ranks wait in all-reduce of bucket 1";
    assert_eq!(words(&[2]), expected);
    let nobody = "no step for 6 s, and no rank is at work; 4 ranks wait in all-reduce of bucket 1";
    assert_eq!(words(&[]), nobody);
    assert_eq!(words(&[0, 1, 2, 3]), nobody);
}

#[test]
fn a_rank_that_is_only_slow_is_told_with_how_long_there_was_no_step() {
    let mut health = Health::new(1, 5.0);
    let trouble = (1..20).find_map(|sec| {
        health.heard(beat(0, "computing", 1.0));
        if sec == 1 {
            health.stepped();
        }
        health.look(SECOND)
    });
    assert_eq!(words(trouble), "rank 0 (gpu00): computing step 4817 (reduce) for 2 s, no step for 6 s");
}

#[test]
fn a_checkpoint_has_more_time() {
    let doing = |rank| Some(if rank == 0 { "writing a checkpoint" } else { "all-reduce" });
    assert_eq!(after(4, 0.0, 600, doing), None);
    assert!(words(after(4, 0.0, 602, doing)).starts_with("rank 0 (gpu00): writing a checkpoint for 60"));
}

#[test]
fn an_evaluation_has_time_as_long_as_it_moves() {
    let mut health = Health::new(2, 5.0);
    (0..2).for_each(|rank| health.heard(beat(rank, "computing", 0.0)));
    health.stepped();
    let mut trouble = |secs: f64| {
        let evaluates =
            |rank, doing, secs| Beat { evaluates: true, phase: "evaluation".into(), ..beat(rank, doing, secs) };
        health.heard(evaluates(0, "computing", secs));
        health.heard(evaluates(1, "all-reduce", secs + 90.0));
        health.look(SECOND)
    };
    assert!((0..600).all(|_| trouble(0.5).is_none()));
    let words = words((1..20).find_map(|secs| trouble(f64::from(secs))));
    assert!(words.starts_with("rank 0 (gpu00): computing step 4817 (evaluation) for"), "{words}");
}

#[test]
fn silence_is_a_ranks_or_a_hosts() {
    let one = |rank| (rank != 3).then_some("all-reduce of bucket 1");
    assert_eq!(after(16, 0.0, 15, one), None);
    let text = words(after(16, 0.0, 16, one));
    let expected = "rank 3 (gpu00): no sign of life for 16 s, it was computing step 4817 (reduce); 15 ranks wait in \
                    all-reduce of bucket 1";
    assert_eq!(text, expected);
    let host = |rank| (rank < 8).then_some("all-reduce");
    let expected =
        "host gpu01 with its 8 ranks: no sign of life for 16 s, it or its link is gone; 8 ranks wait in all-reduce";
    assert_eq!(words(after(16, 0.0, 16, host)), expected);
    assert!(words(after(2, 3.0, 4, |_| None)).starts_with("no rank has given a sign of life"));
}

#[test]
fn who_was_stopped_itself_blames_nobody() {
    let mut health = Health::new(1, 0.0);
    health.heard(beat(0, "computing", 0.0));
    health.stepped();
    for _ in 0..10 {
        assert_eq!(health.look(Duration::from_secs(300)), None);
    }
}

#[test]
fn a_start_has_more_time_and_tells_who_never_came() {
    let mut health = Health::new(2, 0.0);
    let trouble = (0..602).find_map(|_| {
        health.heard(beat(0, "all-reduce", 0.0));
        health.look(SECOND)
    });
    assert_eq!(words(trouble), "nothing has been heard from rank 1 in the 601 s since the start");
}

#[test]
fn slow_steps_have_a_later_deadline() {
    let mut health = Health::new(1, 0.0);
    for _ in 0..3 {
        for _ in 0..10 {
            health.heard(beat(0, "computing", 1.0));
            assert_eq!(health.look(SECOND), None);
        }
        health.stepped();
    }
    assert_eq!(health.hang_deadline(), 200.0);
}

#[test]
fn a_slow_rank_is_told_once_a_while() {
    let mut health = Health::new(4, 0.0);
    health.stepped();
    let mut told = Vec::new();
    for _ in 0..130 {
        (0..4).for_each(|rank| health.heard(beat(rank, if rank == 2 { "computing" } else { "all-reduce" }, 0.0)));
        health.stepped();
        assert_eq!(health.look(SECOND), None);
        told.extend(health.lag());
    }
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("rank 2 (gpu00) is slow: in 60 of the last 60 s"), "{told:?}");
}
