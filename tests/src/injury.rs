//! Ways to hurt a run, with real signals to real processes, and their outcomes.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Ended, Running, send};
use crate::random::Random;
use crate::shim::{self, Act};

/// Anything that takes longer is wrong, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(900);

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Injury {
    /// SIGKILL to a rank, as the kernel does when memory is short.
    KillRank,
    /// A rank writes to an invalid address.
    CrashRank,
    /// SIGSTOP to a rank.
    StopRank,
    /// A rank's training thread stops working, but its signs of life go on.
    HangRank,
    /// SIGTERM to a rank, as a job system sends it.
    TermRank,
    /// A rank exits with code 0.
    ExitRank,
    /// A rank exits with code 3.
    ExitThreeRank,
    /// A rank calls MPI_Abort.
    AbortRank,
    /// A rank panics.
    PanicRank,
    /// SIGKILL to mpirun.
    KillMpirun,
    /// SIGSTOP to mpirun.
    StopMpirun,
    /// SIGKILL to the launcher.
    KillLauncher,
    /// SIGTERM to the launcher.
    TermLauncher,
    /// The newest checkpoint is cut, and a rank is killed.
    CutCheckpoint,
}

/// All kinds.
pub const ALL: [Injury; 14] = [
    Injury::KillRank,
    Injury::CrashRank,
    Injury::StopRank,
    Injury::HangRank,
    Injury::TermRank,
    Injury::ExitRank,
    Injury::ExitThreeRank,
    Injury::AbortRank,
    Injury::PanicRank,
    Injury::KillMpirun,
    Injury::StopMpirun,
    Injury::KillLauncher,
    Injury::TermLauncher,
    Injury::CutCheckpoint,
];

/// A deck of all kinds, which gives them in random order, each as often as any other.
#[derive(Debug, Default)]
pub struct Deck(Vec<Injury>);

impl Deck {
    /// The next one.
    pub fn draw(&mut self, random: &mut Random) -> Injury {
        if self.0.is_empty() {
            self.0.extend(ALL);
        }
        self.0.swap_remove(random.within(0..self.0.len()))
    }
}

/// The outcome of an injury.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The kind.
    pub injury: Injury,
    /// The time from the injury until the launcher had noticed it and had no rank left.
    pub detected: Duration,
    /// The time from then until the next step was done.
    pub resumed: Duration,
    /// The number of steps that were repeated.
    pub lost_steps: u64,
}

/// A run that is hurt again and again, and started again if its launcher ends.
pub struct Patient<S> {
    start: S,
    run: Option<Running>,
    run_dir: PathBuf,
    ranks: usize,
}

impl<S: Fn() -> Running> Patient<S> {
    /// Starts a run of `ranks` ranks in `run_dir`.
    pub fn new(start: S, run_dir: PathBuf, ranks: usize) -> Self {
        let run = Some(start());
        Self { start, run, run_dir, ranks }
    }

    /// Waits until the run does steps; false if it has ended.
    fn moves(&mut self, starts: usize) -> bool {
        let begun = Instant::now();
        // An earlier start may have left lines, so progress counts from the smallest length seen.
        let mut smallest = u64::MAX;
        loop {
            let len = fs::metadata(self.run_dir.join("metrics.jsonl")).map_or(0, |meta| meta.len());
            if self.starts().len() > starts {
                smallest = smallest.min(len);
                if len > smallest.saturating_add(1) {
                    return true;
                }
            }
            if self.running().has_ended() {
                return false;
            }
            assert!(begun.elapsed() < PATIENCE, "no step in {PATIENCE:?}: {}", self.log());
            sleep(Duration::from_millis(2));
        }
    }

    /// Hurts the run once, at most `delay` after it has begun to do steps. None if the run ended, or could not be hurt
    /// any more.
    pub fn hurt(&mut self, injury: Injury, random: &mut Random, delay: Duration) -> Option<Outcome> {
        let before = self.starts().len();
        if !self.moves(before.saturating_sub(1)) {
            return None;
        }
        sleep(delay.mul_f64(random.unit()));
        let failures = self.failures();
        let at = Instant::now();
        if !self.inflict(injury, random) {
            return None;
        }
        while self.failures() == failures && !self.running().has_ended() {
            assert!(at.elapsed() < PATIENCE, "{injury:?} was not noticed in {PATIENCE:?}: {}", self.log());
            sleep(Duration::from_millis(2));
        }
        let detected = at.elapsed();
        let seen = self.last_step();
        let known = Instant::now();
        if self.running().has_ended() {
            let ended = self.run.take().expect("it runs").wait_for_all();
            if ended.code == Some(0) {
                self.run = Some((self.start)());
                return None;
            }
            let expected = match injury {
                Injury::TermRank | Injury::TermLauncher => Some(75),
                _ => None,
            };
            assert_eq!(ended.code, expected, "{injury:?}: {}", ended.stderr());
            self.run = Some((self.start)());
        }
        if !self.moves(before) {
            return None;
        }
        let resumed = known.elapsed();
        let workers = self.running().processes().into_iter().filter(|(_, name)| name == "tercet-worker").count();
        assert!(workers <= self.ranks, "{injury:?}: {workers} ranks run, {} should", self.ranks);
        let from = *self.starts().last().expect("it has started");
        Some(Outcome { injury, detected, resumed, lost_steps: seen.saturating_sub(from) })
    }

    /// Waits for the run's end.
    pub fn wait(mut self) -> Ended {
        self.run.take().expect("it runs").wait()
    }

    fn running(&mut self) -> &mut Running {
        self.run.as_mut().expect("it runs")
    }

    /// Inflicts an injury; false if the processes to hurt are not all there.
    fn inflict(&mut self, injury: Injury, random: &mut Random) -> bool {
        let ranks = self.ranks;
        let launcher = self.running().pid();
        let named = |name: &str| -> Vec<i32> {
            let all = self.run.as_ref().expect("it runs").processes();
            all.into_iter().filter(|(_, own)| own == name).map(|(pid, _)| pid).collect()
        };
        let (workers, mpirun) = (named("tercet-worker"), named("mpirun"));
        if workers.len() != ranks || mpirun.len() != 1 {
            return false;
        }
        let rank = workers[random.within(0..ranks)];
        match injury {
            Injury::KillRank => send(rank, libc::SIGKILL),
            Injury::CrashRank => shim::make(rank, Act::Crash),
            Injury::StopRank => send(rank, libc::SIGSTOP),
            Injury::HangRank => shim::make(rank, Act::Hang),
            Injury::TermRank => send(rank, libc::SIGTERM),
            Injury::ExitRank => shim::make(rank, Act::ExitZero),
            Injury::ExitThreeRank => shim::make(rank, Act::ExitThree),
            Injury::AbortRank => shim::make(rank, Act::MpiAbort),
            Injury::PanicRank => shim::make(rank, Act::Panic),
            Injury::KillMpirun => send(mpirun[0], libc::SIGKILL),
            Injury::StopMpirun => send(mpirun[0], libc::SIGSTOP),
            Injury::KillLauncher => send(launcher, libc::SIGKILL),
            Injury::TermLauncher => send(launcher, libc::SIGTERM),
            Injury::CutCheckpoint => {
                cut_newest(&self.run_dir);
                send(rank, libc::SIGKILL);
            }
        }
        true
    }

    /// The step from which each start so far continued.
    fn starts(&self) -> Vec<u64> {
        let log = self.log();
        let ready = log.lines().filter(|line| line.contains(", ready after "));
        let first =
            ready.filter_map(|line| line.split_once(" ranks, steps ")?.1.split(' ').next()?.parse::<u64>().ok());
        first.map(|first| first - 1).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.run_dir.join("train.log")).unwrap_or_default()
    }

    fn failures(&self) -> usize {
        let text = fs::read_to_string(self.run_dir.join("restarts.jsonl")).unwrap_or_default();
        text.matches("\"event\":\"failed\"").count()
    }

    fn last_step(&self) -> u64 {
        let text = fs::read_to_string(self.run_dir.join("metrics.jsonl")).unwrap_or_default();
        let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        last.and_then(|line| line["step"].as_u64()).unwrap_or(0)
    }
}

/// Cuts a file of the newest checkpoint, if there is an older one as well.
fn cut_newest(run_dir: &Path) {
    let entries = fs::read_dir(run_dir).unwrap().flatten().map(|entry| entry.path());
    let is_checkpoint = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("step-");
    let mut checkpoints: Vec<PathBuf> = entries.filter(is_checkpoint).collect();
    checkpoints.sort();
    if let [.., _, newest] = &checkpoints[..]
        && let Ok(file) = fs::OpenOptions::new().write(true).open(newest.join("model/model.safetensors"))
    {
        let len = file.metadata().unwrap().len();
        file.set_len(len / 2).unwrap();
    }
}

/// A table with a line for each kind: its count, then median and maximum of the time to detect, the time to resume, and
/// the steps lost.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut lines = vec![format!(
        "{:14} {:>5}  {:>16}  {:>16}  {:>16}",
        "fault", "count", "detected in, s", "resumed in, s", "steps lost"
    )];
    for injury in ALL {
        let of: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.injury == injury).collect();
        if of.is_empty() {
            continue;
        }
        let secs = |value: fn(&Outcome) -> f64| {
            let mut values: Vec<f64> = of.iter().map(|outcome| value(outcome)).collect();
            values.sort_by(f64::total_cmp);
            (values[values.len() / 2], values[values.len() - 1])
        };
        let (detected, resumed) = (secs(|o| o.detected.as_secs_f64()), secs(|o| o.resumed.as_secs_f64()));
        let lost = secs(|o| o.lost_steps as f64);
        lines.push(format!(
            "{:14} {:>5}  {:>6.2} (max {:>5.2})  {:>5.2} (max {:>5.2})  {:>6.0} (max {:>4.0})",
            format!("{injury:?}"),
            of.len(),
            detected.0,
            detected.1,
            resumed.0,
            resumed.1,
            lost.0,
            lost.1
        ));
    }
    lines.join("\n")
}
