//! Goodput: the share of the time since a run first began that was spent on steps that count.
//!
//! A step that is repeated after a restart counts once, and a step without an update does not count. The rest is
//! start-up, restarts, waiting for rows and checkpoints, evaluations, and the time in which the run was stopped. The
//! evaluations' share is told apart. The first beginning is in a file of the run folder; the useful seconds are part of
//! its history.

use std::fs;
use std::path::Path;

use crate::machine::clock::since_1970;

/// A run's time, across restarts.
pub struct Goodput {
    /// Seconds since 1970.
    began: u64,
    useful_secs: f64,
}

impl Goodput {
    /// Continues from `useful_secs`. The first start of the run records its beginning.
    pub fn new(run_dir: &Path, useful_secs: f64) -> Self {
        let path = run_dir.join("began");
        let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let began = before.unwrap_or_else(|| {
            let now = since_1970().as_secs();
            if let Err(error) = fs::write(&path, format!("{now}\n")) {
                tracing::warn!("{}: {error}: goodput will count from the next start", path.display());
            }
            now
        });
        Self { began, useful_secs }
    }

    /// Adds the duration of a step that counts.
    pub fn add(&mut self, secs: f64) {
        self.useful_secs += secs;
    }

    /// The seconds of all steps that count.
    pub fn useful_secs(&self) -> f64 {
        self.useful_secs
    }

    /// The share, from 0 to 1. Hosts' clocks may differ, and the beginning is known only to the second.
    pub fn share(&self) -> f64 {
        self.share_of(self.useful_secs)
    }

    /// The same share of other seconds than those of steps.
    pub fn share_of(&self, secs: f64) -> f64 {
        let wall_secs = since_1970().as_secs().saturating_sub(self.began) as f64;
        secs / wall_secs.max(secs).max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_goes_on_from_what_was_useful_and_keeps_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("began"), format!("{}\n", since_1970().as_secs() - 1000)).unwrap();
        let mut goodput = Goodput::new(dir.path(), 200.0);
        goodput.add(50.0);
        assert_eq!(goodput.useful_secs(), 250.0);
        assert!((0.24..=0.25).contains(&goodput.share()), "{}", goodput.share());
    }

    #[test]
    fn a_first_start_is_written_down() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Goodput::new(dir.path(), 0.0).share(), 0.0);
        assert!(dir.path().join("began").is_file());
    }
}
