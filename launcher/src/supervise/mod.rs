//! A training run under supervision: starts the ranks, follows them, and starts them again when they die or hang.
//!
//! The ranks tell on their standard output what they do ([`tercet_protocol::says::Event`]); [`health`] finds who is
//! silent, hangs or lags; [`policy`] decides whether there is a restart, which goes on from the newest good checkpoint;
//! [`record`] writes down what happened; [`survivors`] finds out which hosts are left. What an exit code means, and
//! ending processes, is [`crate::start`]'s part.

mod follow;
mod health;
mod lines;
mod policy;
pub mod record;
mod survivors;

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;
use tercet_configs::{ExitCode, Recipe};
use tercet_protocol::Command;
use tercet_protocol::args::{RankTrainArgs, TrainArgs};

use crate::args::{Ranks, Train};
use crate::exit::Fail;
use crate::place::Placement;
use crate::screen::Screen;
use crate::start::{self, Attempt, Input, Noted, Stop};
use crate::submit::quote;
use follow::Follower;
use policy::Failure;

/// The time between two looks for signals while no ranks run.
const POLL: Duration = Duration::from_millis(20);

/// The time that ranks which are started again give those before them, which may not all be gone yet, to leave the run
/// folder.
const LOCK_WAIT_SECS: u64 = 60;

/// Trains `recipe`, which `args` names, on `asked` until the last step, with progress.
///
/// # Errors
/// Errors of ranks after which there is no further start.
pub fn train(args: &Train, recipe: &Recipe, asked: &Placement) -> anyhow::Result<()> {
    let signals = Noted::begin().context("installing signal handlers")?;
    let screen = Screen::new();
    let run = Supervised { args, recipe, signals: &signals, screen: &screen };
    let follower = Mutex::new(Follower::new(recipe, screen.clone()));
    let (mut placement, mut again) = (asked.clone(), false);
    while let Some(pause) = run.attempt(&placement, again, &follower)? {
        run.pause(pause)?;
        placement = survivors::place(asked, recipe, &screen)?;
        again = true;
    }
    Ok(())
}

/// What all attempts have in common.
struct Supervised<'a> {
    args: &'a Train,
    recipe: &'a Recipe,
    signals: &'a Noted,
    screen: &'a Screen,
}

impl Supervised<'_> {
    /// Runs the ranks once. Returns the pause before the next start, or none if the run is complete.
    ///
    /// # Errors
    /// They failed, and there is no next start.
    fn attempt(
        &self,
        placement: &Placement,
        again: bool,
        follower: &Mutex<Follower>,
    ) -> anyhow::Result<Option<Duration>> {
        locked(follower).begin(placement.num_ranks());
        let what = self.what(again);
        let stop = Stop { signal: Some(libc::SIGUSR1), grace: Duration::from_secs_f64(self.recipe.restart.stop_secs) };
        let hangs = || locked(follower).hangs();
        let line = |line: &[u8]| locked(follower).line(line);
        let (signals, screen) = (self.signals, self.screen);
        let attempt = Attempt { placement, what: &what, input: Input::Nothing, stop, signals, screen };
        let (ended, cause) = attempt.run(hangs, line)?;
        let mut follower = locked(follower);
        if follower.stopped {
            // The exit code of mpirun does not count: it differs if a signal reaches mpirun while its ranks leave.
            self.say_how_to_go_on();
            return Err(Fail::said(ExitCode::Preempted.code()).into());
        }
        let fail = match (start::check(&ended, &cause), follower.trouble()) {
            (Ok(()), _) => return Ok(None),
            (Err(_), Some(trouble)) if ended.taken_down && ended.interrupted.is_none() => {
                Fail::new(ExitCode::Machine, &trouble.words)
            }
            // They have been started before, so their machines have changed.
            (Err(fail), _)
                if (again || follower.has_stepped()) && fail.code() == ExitCode::Usage.code() && !fail.was_said() =>
            {
                Fail::new(ExitCode::Machine, fail.to_string())
            }
            (Err(fail), _) => fail,
        };
        let failure = Failure {
            code: fail.code(),
            said: fail.was_said(),
            interrupted: ended.interrupted.is_some(),
            has_stepped: follower.has_stepped(),
        };
        if failure.interrupted || failure.code == ExitCode::Usage.code() {
            return Err(fail.into());
        }
        let silent = || format!("a rank ended with code {}", fail.code());
        let why = if fail.was_said() { cause.error.unwrap_or_else(silent) } else { fail.to_string() };
        follower.failed(&why);
        let Some(pause) = follower.policy.after(failure) else {
            if follower.policy.is_spent() {
                self.screen.say(&format!("{} without a new checkpoint: giving up\n", follower.policy.count()));
            }
            if failure.code == ExitCode::Machine.code() && failure.has_stepped {
                self.say_how_to_go_on();
            }
            return Err(fail.into());
        };
        if !fail.was_said() {
            self.screen.say(&format!("tercet: {why}\n"));
        }
        let (count, secs) = (follower.policy.count(), pause.as_secs_f64());
        self.screen.say(&format!("{count} in {secs:.0} s, from the newest good checkpoint\n"));
        Ok(Some(pause))
    }

    /// What the ranks are told; `again` to go on with what those before have left.
    fn what(&self, again: bool) -> Command {
        let mut what = self.args.what.clone();
        what.resume |= again;
        let lock_wait_secs = if again { LOCK_WAIT_SECS } else { RankTrainArgs::LOCK_WAIT_SECS };
        Command::Train(RankTrainArgs { what, events: true, lock_wait_secs })
    }

    fn say_how_to_go_on(&self) {
        if let Ok(line) = self.resume_line() {
            self.screen.say(&format!("to go on: {line}\n"));
        }
    }

    /// Waits, unless the launcher is asked to stop.
    fn pause(&self, pause: Duration) -> Result<(), Fail> {
        let begun = Instant::now();
        while begun.elapsed() < pause {
            if let Some(signal) = self.signals.take() {
                return Err(start::interrupted(signal));
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// What was typed, to be typed again so that the run goes on.
    ///
    /// # Errors
    /// A name that is not UTF-8.
    fn resume_line(&self) -> Result<String, Fail> {
        let Train { what: TrainArgs { recipe, .. }, ranks: Ranks { ranks, hosts } } = self.args;
        let mut words: Vec<OsString> = vec!["tercet".into(), "train".into(), recipe.path.clone().into()];
        words.extend(recipe.settings().into_iter().flat_map(|setting| ["--set".into(), setting.into()]));
        words.push("--resume".into());
        words.extend(ranks.iter().flat_map(|ranks| ["-n".into(), ranks.to_string().into()]));
        words.extend(hosts.iter().flat_map(|hosts| ["--hosts".into(), hosts.into()]));
        Ok(words.iter().map(|word| quote::shell(word)).collect::<Result<Vec<_>, _>>()?.join(" "))
    }
}

fn locked(follower: &Mutex<Follower>) -> MutexGuard<'_, Follower> {
    follower.lock().expect("nobody panics with it")
}
