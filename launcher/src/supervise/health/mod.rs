//! How the ranks are, by their signs of life: who is silent, whether the run hangs and on whom, who lags.
//!
//! Time is the launcher's own, and counts only while the launcher runs. If it was stopped or starved for a while, no
//! rank is blamed for what the launcher did not hear.

mod lag;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lag::Lag;
use tercet_protocol::says::Beat;

/// Without a deadline from the recipe: at least this, and [`SLOWEST_TIMES`] the slowest of the last steps.
const MIN_HANG_SECS: f64 = 60.0;
const SLOWEST_TIMES: f64 = 20.0;

/// The number of last steps of which the slowest counts.
const RECENT_STEPS: usize = 50;

/// A start, and a checkpoint that is waited for, may take this many times as long as a step.
const PATIENCE: f64 = 10.0;

/// The silence after which a rank counts as dead. A rank that lives gives a sign once a second, and is never silent for
/// so long even on a machine that is far too busy.
const SILENT_SECS: f64 = 15.0;

/// The time after which a rank is stuck in an operation: its training thread has not run, and other ranks' threads
/// have.
const STILL_SECS: f64 = 2.0;

/// A rank that evaluates moves if the last new thing that it told of is not older than this. Signs of life come once a
/// second.
const MOVES_SECS: f64 = 5.0;

/// The longest pause between two looks that counts in full.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Why the ranks have to be taken down.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// Who, where, what, and what the others do meanwhile.
    pub words: String,
    /// Seconds since it began, as far as that is known.
    pub secs: f64,
}

#[derive(Debug)]
struct Seen {
    beat: Beat,
    at: Duration,
}

/// What is known of the ranks.
#[derive(Debug)]
pub struct Health {
    hang_secs: f64,
    now: Duration,
    ranks: Vec<Option<Seen>>,
    /// When the last step was done, or an evaluation behind it last moved; the start before the first one.
    stepped_at: Duration,
    step_secs: VecDeque<f64>,
    num_steps: u64,
    lag: Lag,
}

impl Health {
    /// Looks after `world_size` ranks that are being started; `hang_secs` as in the recipe.
    pub fn new(world_size: usize, hang_secs: f64) -> Self {
        Self {
            hang_secs,
            now: Duration::ZERO,
            ranks: (0..world_size).map(|_| None).collect(),
            stepped_at: Duration::ZERO,
            step_secs: VecDeque::new(),
            num_steps: 0,
            lag: Lag::new(world_size),
        }
    }

    /// A rank lives.
    pub fn heard(&mut self, beat: Beat) {
        let at = self.now;
        // How long an evaluation takes depends on the data, not on the steps.
        if beat.evaluates && beat.secs < MOVES_SECS {
            self.stepped_at = at;
        }
        if let Some(seen) = self.ranks.get_mut(beat.rank) {
            *seen = Some(Seen { beat, at });
        }
    }

    /// A step is done.
    pub fn stepped(&mut self) {
        if self.num_steps > 0 {
            self.step_secs.push_back((self.now - self.stepped_at).as_secs_f64());
            if self.step_secs.len() > RECENT_STEPS {
                self.step_secs.pop_front();
            }
        }
        self.num_steps += 1;
        self.stepped_at = self.now;
    }

    /// What is wrong, if anything is, when `passed` has passed since the last look.
    pub fn look(&mut self, passed: Duration) -> Option<Trouble> {
        self.now += passed.min(MAX_PAUSE);
        self.silence().or_else(|| self.hang())
    }

    /// A rank that the others wait for all the time. It is reported once a minute at most.
    pub fn lag(&mut self) -> Option<String> {
        if self.num_steps == 0 || self.ranks.len() < 2 {
            return None;
        }
        self.lag.look(self.now, self.ranks.iter().flatten().map(|seen| &seen.beat))
    }

    /// Seconds without a step after which the run hangs.
    fn hang_deadline(&self) -> f64 {
        let slowest = self.step_secs.iter().copied().fold(0.0, f64::max);
        let base = match self.hang_secs {
            0.0 => (SLOWEST_TIMES * slowest).max(MIN_HANG_SECS),
            secs => secs,
        };
        let saves = self.ranks.iter().flatten().any(|seen| seen.beat.saves);
        if self.num_steps == 0 || saves { base * PATIENCE } else { base }
    }

    fn silence(&self) -> Option<Trouble> {
        let deadline = if self.hang_secs > 0.0 { self.hang_secs.min(SILENT_SECS) } else { SILENT_SECS };
        let silent_secs = |seen: &Seen| (self.now - seen.at).as_secs_f64();
        let silent: Vec<&Seen> = self.ranks.iter().flatten().filter(|seen| silent_secs(seen) > deadline).collect();
        let secs = silent.iter().map(|seen| silent_secs(seen)).fold(0.0, f64::max);
        let first = silent.first()?;
        let Beat { rank, host, .. } = &first.beat;
        let on_host = self.ranks.iter().flatten().filter(|seen| seen.beat.host == *host).count();
        let several_hosts = self.ranks.iter().flatten().any(|seen| seen.beat.host != *host);
        let who = match silent.len() {
            1 => format!("rank {rank} ({host}): no sign of life for {secs:.0} s, it was {}", work(&first.beat)),
            num if num == self.ranks.len() => {
                format!("no rank has given a sign of life for {secs:.0} s: mpirun may be stopped or cut off")
            }
            num if num == on_host && several_hosts && silent.iter().all(|seen| seen.beat.host == *host) => {
                format!("host {host} with its {num} ranks: no sign of life for {secs:.0} s, it or its link is gone")
            }
            _ => format!("ranks {}: no sign of life for {secs:.0} s", list(&silent)),
        };
        let others = self.waiting(&silent.iter().map(|seen| seen.beat.rank).collect::<Vec<_>>());
        Some(Trouble { words: format!("{who}{others}"), secs })
    }

    fn hang(&self) -> Option<Trouble> {
        let secs = (self.now - self.stepped_at).as_secs_f64();
        if secs <= self.hang_deadline() {
            return None;
        }
        let missing: Vec<String> = self.unheard().map(|rank| rank.to_string()).collect();
        let stuck_secs = |seen: &Seen| seen.beat.secs + (self.now - seen.at).as_secs_f64();
        let at_work = self.ranks.iter().flatten().filter(|seen| !seen.beat.waits);
        let culprit = at_work.max_by(|a, b| stuck_secs(a).total_cmp(&stuck_secs(b))).or_else(|| self.still());
        let words = match culprit {
            _ if !missing.is_empty() => {
                format!("nothing has been heard from rank {} in the {secs:.0} s since the start", missing.join(", "))
            }
            Some(seen) => {
                let Beat { rank, host, .. } = &seen.beat;
                let others = self.waiting(&[*rank]);
                let stuck = if seen.beat.waits { "stuck in " } else { "" };
                let at_it = stuck_secs(seen);
                // Whoever has been at it for less than that is no reason by itself: the machine may just be slow.
                let since = if at_it < 0.9 * secs { format!(", no step for {secs:.0} s") } else { String::new() };
                format!("rank {rank} ({host}): {stuck}{} for {at_it:.0} s{since}{others}", work(&seen.beat))
            }
            None => format!("no step for {secs:.0} s, and no rank is at work{}", self.waiting(&[])),
        };
        Some(Trouble { words, secs })
    }

    /// The rank that does not move, where others do.
    fn still(&self) -> Option<&Seen> {
        let is_still = |seen: &&Seen| seen.beat.still_secs >= STILL_SECS;
        let (still, moving): (Vec<&Seen>, Vec<&Seen>) = self.ranks.iter().flatten().partition(is_still);
        let longest = still.into_iter().max_by(|a, b| a.beat.still_secs.total_cmp(&b.beat.still_secs));
        longest.filter(|_| !moving.is_empty())
    }

    /// Seconds since the last sign of life of the rank that was heard of the longest ago.
    pub fn longest_silence(&self) -> f64 {
        self.ranks.iter().flatten().map(|seen| (self.now - seen.at).as_secs_f64()).fold(0.0, f64::max)
    }

    fn unheard(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranks.iter().enumerate().filter(|(_, seen)| seen.is_none()).map(|(rank, _)| rank)
    }

    /// `; 95 ranks wait in all-reduce of bucket 3`, all but `without`.
    fn waiting(&self, without: &[usize]) -> String {
        let mut by_operation: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
        let others = self.ranks.iter().flatten().filter(|seen| seen.beat.waits && !without.contains(&seen.beat.rank));
        others.for_each(|seen| by_operation.entry(&seen.beat.doing).or_default().push(seen));
        let mut groups: Vec<(&str, Vec<&Seen>)> = by_operation.into_iter().collect();
        groups.sort_by_key(|(_, ranks)| std::cmp::Reverse(ranks.len()));
        let groups = groups.into_iter().map(|(operation, ranks)| match &ranks[..] {
            [one] => format!("rank {} ({}) waits in {operation}", one.beat.rank, one.beat.host),
            many => format!("{} ranks wait in {operation}", many.len()),
        });
        groups.map(|group| format!("; {group}")).collect()
    }
}

/// `reading batch 4817`, `computing step 12 (backward)`
fn work(beat: &Beat) -> String {
    match beat.doing.as_str() {
        "computing" => format!("computing step {} ({})", beat.step, beat.phase),
        // It waits for nobody else, and so counts as being at work.
        doing @ "waiting for its GPU" => format!("{doing} in step {} ({})", beat.step, beat.phase),
        doing => doing.to_owned(),
    }
}

/// `3 (gpu01), 4 (gpu02)`
fn list(ranks: &[&Seen]) -> String {
    ranks.iter().map(|seen| format!("{} ({})", seen.beat.rank, seen.beat.host)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn beat(rank: usize, doing: &str, secs: f64) -> Beat {
        let (waits, saves) = (doing.starts_with("all-reduce"), doing.starts_with("writing"));
        let (host, phase) = (format!("gpu{:02}", rank / 8), "reduce".to_owned());
        let evaluates = false;
        Beat {
            rank,
            host,
            pid: 1,
            step: 4817,
            phase,
            doing: doing.into(),
            waits,
            saves,
            evaluates,
            secs,
            still_secs: 0.0,
        }
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
        let expected =
            "rank 2 (gpu00): stuck in all-reduce of bucket 1 for 7 s; 3 ranks wait in all-reduce of bucket 1";
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
}
