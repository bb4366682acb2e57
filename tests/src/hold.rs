//! Makes a run stand still at a step of the test's choice, so that the test's actions do not race the run's steps.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Running, Tercet};

/// The place at which a run waits, until it is [released](Hold::release) or asked to stop.
pub struct Hold {
    step: u64,
    file: PathBuf,
}

impl Hold {
    /// A place after `step` steps. `name` is a file in `dir`, which must not be a run folder and must be visible to the
    /// ranks.
    pub fn after(step: u64, dir: &Path, name: &str) -> Self {
        Self { step, file: dir.join(name) }
    }

    /// Adds the place to `run`, and a long `hang_secs`, so that standing still does not count as hanging.
    pub fn on(&self, run: Tercet) -> Tercet {
        let (name, value) = self.variable();
        run.env(name, value).set("restart.hang_secs=900")
    }

    /// The variable that the ranks read, and its value.
    pub fn variable(&self) -> (&'static str, String) {
        ("TERCET_TEST_HOLD", format!("{}:{}", self.step, self.file.display()))
    }

    /// Returns when all `ranks` ranks have arrived.
    pub fn wait(&self, run: &mut Running, ranks: usize) {
        run.wait_until(&format!("{ranks} ranks after step {}", self.step), |_| self.has(ranks));
    }

    /// Whether all `ranks` ranks have arrived, now or earlier.
    pub fn has(&self, ranks: usize) -> bool {
        (0..ranks).all(|rank| PathBuf::from(format!("{}.{rank}", self.file.display())).exists())
    }

    /// Lets the run continue, now and when it is started again.
    pub fn release(&self) {
        fs::write(&self.file, "").unwrap();
    }
}
