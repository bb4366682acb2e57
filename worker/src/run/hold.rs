//! Makes a run stand still for a test, so that the test's actions do not depend on the machine's speed.
//!
//! It is for tests only: with `TERCET_TEST_HOLD=STEP:FILE` every rank waits after `STEP` steps until `FILE` exists. A
//! rank that has come so far writes an empty file `FILE.RANK`. A rank that is asked to stop waits no longer. Without
//! the variable nothing happens.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use super::error::SetupError;
use super::stop;

/// It is set for all ranks, because `tercet` passes it on to other machines as well.
const VARIABLE: &str = "TERCET_TEST_HOLD";

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(2);

/// The place at which to wait, if there is one.
#[derive(Debug, Default)]
pub(super) struct Hold(Option<Place>);

#[derive(Debug)]
struct Place {
    /// The number of steps done.
    step: u64,
    released: PathBuf,
    arrived: PathBuf,
}

impl Hold {
    /// Reads the environment of `rank`.
    ///
    /// # Errors
    /// The variable is set and has the wrong form.
    pub fn of_environment(rank: usize) -> anyhow::Result<Self> {
        std::env::var(VARIABLE).map_or(Ok(Self::default()), |value| Self::parse(&value, rank))
    }

    fn parse(value: &str, rank: usize) -> anyhow::Result<Self> {
        let parts = value.split_once(':').and_then(|(step, file)| Some((step.parse().ok()?, file)));
        let Some((step, file)) = parts else {
            return Err(SetupError::Hold(format!("{VARIABLE}={value}")).into());
        };
        Ok(Self(Some(Place { step, released: file.into(), arrived: format!("{file}.{rank}").into() })))
    }

    /// Waits here if the place is after `step` steps.
    ///
    /// # Errors
    /// The file that reports the rank's arrival cannot be written.
    pub fn after(&self, step: u64) -> std::io::Result<()> {
        let Some(place) = self.0.as_ref().filter(|place| place.step == step) else { return Ok(()) };
        std::fs::write(&place.arrived, "")?;
        while !place.released.exists() && !stop::asked() {
            sleep(EVERY);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_says_that_it_waits_and_goes_on_when_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("go");
        let hold = Hold::parse(&format!("3:{}", file.display()), 1).unwrap();
        hold.after(2).unwrap();
        assert!(!dir.path().join("go.1").exists());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| hold.after(3));
            while !dir.path().join("go.1").exists() {
                sleep(EVERY);
            }
            assert!(!waiting.is_finished());
            std::fs::write(&file, "").unwrap();
            waiting.join().unwrap().unwrap();
        });
        hold.after(3).unwrap();
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for value in ["", "3", "three:file"] {
            let error = Hold::parse(value, 0).unwrap_err().to_string();
            assert!(error.contains("expected STEP:FILE"), "{error}");
        }
    }
}
