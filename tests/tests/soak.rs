//! A run that is hurt again and again, in every way, comes to the same bits as the run that is left alone.
//!
//! `make soak` hurts it a hundred times; the short test here once in every way. `TERCET_SOAK_SEED` and
//! `TERCET_SOAK_FAULTS` choose another course.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tercet_tests::injury::{self, Deck, Injury, Outcome, Patient};
use tercet_tests::random::Random;
use tercet_tests::scene::{Scene, assert_same_run};
use tercet_tests::shim;

/// Steps of a run; when they are done, the next run begins.
const STEPS: u64 = 400;

/// Steps between checkpoints.
const EVERY: u64 = 7;

/// Hurts runs of `ranks` ranks, in each way that `next` names, until it names none; all of them end as the undisturbed
/// run.
fn soak(ranks: usize, random: &mut Random, mut next: impl FnMut(&mut Random) -> Option<Injury>) -> Vec<Outcome> {
    let scene = Scene::new(STEPS, EVERY);
    let train = |run: &str| scene.train(run, ranks).set("checkpoint.keep=3");
    train("whole").succeed();
    let library = shim::compile(&scene.place.path(""));
    let mut outcomes = Vec::new();
    let mut wanted = next(random);
    let mut runs = 0;
    while wanted.is_some() {
        runs += 1;
        let name = format!("hurt-{runs}");
        let start = || {
            let run = train(&name).arg("--resume").env("LD_PRELOAD", &library);
            let run = run.set("restart.limit=100").set("restart.backoff_secs=0").set("restart.hang_secs=4");
            run.set("restart.stop_secs=60").start()
        };
        let mut patient = Patient::new(start, scene.place.path(&name), ranks);
        while let Some(injury) = wanted {
            let Some(outcome) = patient.hurt(injury, random, Duration::from_millis(700)) else { break };
            println!("{:3}: {outcome:?}", outcomes.len() + 1);
            outcomes.push(outcome);
            wanted = next(random);
        }
        let ended = patient.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr());
        assert_same_run(&scene, &name, "whole", STEPS);
        println!("run {runs}: the same bits as the undisturbed run");
    }
    println!("{}", injury::table(&outcomes));
    outcomes
}

#[test]
fn a_run_survives_every_kind_of_fault() {
    let mut kinds = injury::ALL.into_iter();
    let outcomes = soak(2, &mut Random::new(5), |_| kinds.next());
    assert_eq!(outcomes.len(), injury::ALL.len());
}

#[test]
#[ignore = "takes a quarter of an hour: make soak"]
fn a_run_survives_a_hundred_faults() {
    let setting = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let seed = setting("TERCET_SOAK_SEED").unwrap_or(1);
    let faults = setting("TERCET_SOAK_FAULTS").unwrap_or(100) as usize;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let (mut outcomes, mut deck) = (Vec::new(), Deck::default());
    for (ranks, share) in [(2, faults - faults / 3), (4, faults / 3)] {
        let mut left = share;
        outcomes.extend(soak(ranks, &mut random, |random| {
            left = left.checked_sub(1)?;
            Some(deck.draw(random))
        }));
    }
    println!("seed {seed}, {} of {faults} faults survived\n{}", outcomes.len(), injury::table(&outcomes));
    assert_eq!(outcomes.len(), faults);
}
