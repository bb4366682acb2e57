//! Where a test has a run stand still, so that what is then done to it does not depend on how fast the machine is.
//!
//! For tests only: `TERCET_TEST_HOLD=STEP:FILE` has every rank wait after `STEP` steps until there is `FILE`. A rank that
//! has come so far says so with an empty file `FILE.RANK`. One that is asked to stop waits no longer. Without the variable
//! nothing is looked at.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use super::stop;
use crate::commands::TaskError;

/// Who sets it, sets it for all ranks: `tercet` passes it on to other machines as well.
const VARIABLE: &str = "TERCET_TEST_HOLD";

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(2);

/// The place, if there is one.
#[derive(Debug, Default)]
pub(super) struct Hold(Option<Place>);

#[derive(Debug)]
struct Place {
    /// Steps done.
    step: u64,
    released: PathBuf,
    arrived: PathBuf,
}

impl Hold {
    /// As the environment says to `rank`.
    ///
    /// # Errors
    /// The variable is set and makes no sense.
    pub fn of_environment(rank: usize) -> anyhow::Result<Self> {
        std::env::var(VARIABLE).map_or(Ok(Self::default()), |value| Self::parse(&value, rank))
    }

    fn parse(value: &str, rank: usize) -> anyhow::Result<Self> {
        let parts = value.split_once(':').and_then(|(step, file)| Some((step.parse().ok()?, file)));
        let Some((step, file)) = parts else {
            let message = format!("{VARIABLE}={value}: expected STEP:FILE; unset it, it is for Tercet's own tests");
            return Err(TaskError::Usage(message).into());
        };
        Ok(Self(Some(Place { step, released: file.into(), arrived: format!("{file}.{rank}").into() })))
    }

    /// `step` steps are done.
    ///
    /// # Errors
    /// The file that says so cannot be written.
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
