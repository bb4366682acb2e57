//! What the launcher takes from the ranks' standard output: progress for the user, health for itself.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use tercet_configs::Recipe;
use tercet_protocol::says::Event;

use super::health::{Health, Trouble};
use super::lines::Lines;
use super::policy::Policy;
use super::record::{self, Line};
use crate::screen::Screen;
use crate::screen::progress::Progress;

/// Follows a run over all its restarts.
pub struct Follower {
    pub policy: Policy,
    screen: Screen,
    progress: Progress,
    lines: Lines,
    run_dir: PathBuf,
    hang_secs: f64,
    world_size: usize,
    health: Health,
    looked: Instant,
    trouble: Option<Trouble>,
    /// The last step done by the ranks that run now, or by those before if these have done none.
    step: u64,
    first_step: u64,
    has_stepped: bool,
    /// The last failure, until a step is done after it: when, and the step.
    failed: Option<(Instant, u64)>,
    /// The ranks stopped in good order.
    pub stopped: bool,
}

impl Follower {
    /// The state of a run that begins.
    pub fn new(recipe: &Recipe, screen: Screen) -> Self {
        let hang_secs = recipe.restart.hang_secs;
        Self {
            policy: Policy::new(recipe.restart),
            progress: Progress::new(screen.clone(), recipe.log.every_steps),
            screen,
            lines: Lines::default(),
            run_dir: recipe.run_dir.clone(),
            hang_secs,
            world_size: 0,
            health: Health::new(0, hang_secs),
            looked: Instant::now(),
            trouble: None,
            step: 0,
            first_step: 0,
            has_stepped: false,
            failed: None,
            stopped: false,
        }
    }

    /// This number of ranks is being started.
    pub fn begin(&mut self, ranks: NonZeroUsize) {
        self.world_size = ranks.get();
        (self.health, self.lines) = (Health::new(self.world_size, self.hang_secs), Lines::default());
        (self.looked, self.trouble) = (Instant::now(), None);
    }

    /// Takes a line of the ranks' standard output; what is no event is passed on to ours.
    pub fn line(&mut self, line: &[u8]) {
        let line = self.lines.whole(line);
        let Some(event) = Event::parse(&line) else { return self.screen.pass(&line) };
        match &event {
            Event::Heartbeat(beat) => return self.health.heard(beat.clone()),
            Event::Start { first_step, .. } => {
                self.first_step = *first_step;
                self.policy.checkpoint(*first_step);
            }
            Event::Checkpoint { step, .. } => self.policy.checkpoint(*step),
            Event::Stopped { .. } => self.stopped = true,
            Event::Step(step) => {
                self.health.stepped();
                (self.step, self.has_stepped) = (step.step, true);
                self.resumed();
            }
            Event::Warning { .. } | Event::Evaluating { .. } | Event::Evaluated { .. } | Event::End { .. } => {}
        }
        self.progress.event(event);
    }

    /// The first step after a failure is done.
    fn resumed(&mut self) {
        let Some((failed_at, step)) = self.failed.take() else { return };
        let lost_steps = step.saturating_sub(self.first_step);
        self.progress.restarted(lost_steps);
        let (from_step, world_size, resumed_secs) =
            (self.first_step, self.world_size, failed_at.elapsed().as_secs_f64());
        record::append(&self.run_dir, Line::Resumed { from_step, lost_steps, world_size, resumed_secs });
    }

    /// Whether the ranks have to be taken down.
    pub fn hangs(&mut self) -> bool {
        let passed = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        if let Some(text) = self.health.lag() {
            self.screen.say(&format!("warning: {text}\n"));
        }
        if self.trouble.is_none() {
            self.trouble = self.health.look(passed);
        }
        self.trouble.is_some()
    }

    /// The reason why they were taken down.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// Whether any step has been done.
    pub fn has_stepped(&self) -> bool {
        self.has_stepped
    }

    /// The ranks are gone, because of `why`.
    pub fn failed(&mut self, why: &str) {
        let secs = self.trouble.as_ref().map_or_else(|| self.health.longest_silence(), |trouble| trouble.secs);
        let line =
            Line::Failed { why: why.to_owned(), step: self.step, world_size: self.world_size, detected_secs: secs };
        record::append(&self.run_dir, line);
        // Ranks that failed before any step do not hide when the run last moved.
        self.failed.get_or_insert((Instant::now(), self.step));
    }
}
