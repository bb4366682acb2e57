//! A run that stands still at a step of the test's choice, so that what is done to it does not race its steps.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Running, Tercet};

/// Where a run waits. As long as it is not [released](Hold::release), or asked to stop, it gets no further.
pub struct Hold {
    step: u64,
    file: PathBuf,
}

impl Hold {
    /// After `step` steps; `name` is of a file in `dir`, which must not be a run folder and must be the ranks' as well.
    pub fn after(step: u64, dir: &Path, name: &str) -> Self {
        Self { step, file: dir.join(name) }
    }

    /// `run` with it. Standing still is not to be taken for hanging.
    pub fn on(&self, run: Tercet) -> Tercet {
        let (name, value) = self.variable();
        run.env(name, value).set("restart.hang_secs=900")
    }

    /// The variable that the ranks read, and what it says.
    pub fn variable(&self) -> (&'static str, String) {
        ("TERCET_TEST_HOLD", format!("{}:{}", self.step, self.file.display()))
    }

    /// Returns when all of `ranks` ranks are there.
    pub fn wait(&self, run: &mut Running, ranks: usize) {
        run.wait_until(&format!("{ranks} ranks after step {}", self.step), |_| self.has(ranks));
    }

    /// Whether all of `ranks` ranks are there, or have been.
    pub fn has(&self, ranks: usize) -> bool {
        (0..ranks).all(|rank| PathBuf::from(format!("{}.{rank}", self.file.display())).exists())
    }

    /// Lets it go on, now and when it is started again.
    pub fn release(&self) {
        fs::write(&self.file, "").unwrap();
    }
}
