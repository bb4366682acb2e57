//! Ranks from their start to their end.

use anyhow::Context;
use tercet_protocol::Command;

use super::child::{Ended, Input, Stop, watch};
use super::command::command;
use super::ended;
use super::signals::Noted;
use crate::place::{self, Launch, Placement};
use crate::screen::Screen;
use crate::screen::noise::{Cause, NoiseFilter};

/// Has ranks do `what`, and stays until they are gone; `stdout` takes what they write, line by line.
///
/// # Errors
/// Ranks that did not end well.
pub fn run(
    placement: &Placement,
    what: &Command,
    input: Input,
    screen: &Screen,
    stdout: impl FnMut(&[u8]) + Send,
) -> anyhow::Result<()> {
    let signals = Noted::begin().context("installing signal handlers")?;
    let attempt = Attempt { placement, what, input, stop: Stop::AT_ONCE, signals: &signals, screen };
    let (ended, cause) = attempt.run(|| false, stdout)?;
    Ok(ended::check(&ended, &cause)?)
}

/// One start of ranks.
pub struct Attempt<'a> {
    /// Where they are started.
    pub placement: &'a Placement,
    /// What they do.
    pub what: &'a Command,
    /// What they read.
    pub input: Input,
    /// How they are asked to stop.
    pub stop: Stop,
    /// What asks the launcher to stop.
    pub signals: &'a Noted,
    /// Where what they say on standard error is said.
    pub screen: &'a Screen,
}

impl Attempt<'_> {
    /// Starts them and stays until they are gone: how they ended, and why as far as `mpirun` tells. Once `hangs` says
    /// so they are taken down.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn run(&self, hangs: impl FnMut() -> bool, stdout: impl FnMut(&[u8]) + Send) -> anyhow::Result<(Ended, Cause)> {
        let &Self { placement, what, input, stop, signals, screen } = self;
        let mut noise = NoiseFilter::default();
        let say = |line: &[u8]| {
            if let Some(text) = noise.line(&String::from_utf8_lossy(line)) {
                screen.say(&text);
            }
        };
        let ended = watch(command(placement, what)?, input, stop, signals, hangs, stdout, say);
        screen.close_bar();
        let (held, mut cause) = noise.finish();
        if let Some(text) = held {
            screen.say(&text);
        }
        if cause.no_daemon && cause.mistake.is_none() && placement.launch() == Launch::Slurm {
            cause.mistake = place::no_such_job();
        }
        Ok((ended?, cause))
    }
}
