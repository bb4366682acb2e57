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
mod tests;
