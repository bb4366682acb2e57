//! Decides what follows a loss or gradient that is not finite, and when there were too many.

use tercet_configs::{ExitCode, FaultsSection, OnFaults};

/// A run that ends because too many steps in a row had a fault.
#[derive(Debug, thiserror::Error)]
#[error(
    "step {step} (data set {dataset}): loss {loss}, gradient norm {grad_norm}: {culprit}. The weights were not updated \
     ({in_a_row} in a row: {stopped_because}) and are as after step {last_good}: look at those rows, lower \
     optimizer.learning_rate or change [faults], then go on with --resume"
)]
pub struct NotFinite {
    /// The step, from 1.
    pub step: u64,
    /// The global loss.
    pub loss: f64,
    /// The norm of the summed gradient.
    pub grad_norm: f64,
    /// The batch's data set.
    pub dataset: String,
    /// Where the computation stopped being finite.
    pub culprit: String,
    /// The number of consecutive steps without an update, this one included.
    pub in_a_row: u64,
    /// Why the run does not go on.
    pub stopped_because: String,
    /// The step before the first of these.
    pub last_good: u64,
}

/// What a run needs to return to a checkpoint.
pub(super) struct RollBack {
    /// Steps, from 1, whose batches must be left out.
    pub left_out: Vec<u64>,
    /// The error with which the run ends if there is no checkpoint.
    pub fault: NotFinite,
}

impl NotFinite {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::Data
    }
}

/// What follows a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The run continues with the next step.
    GoOn,
    /// The run returns to the newest checkpoint and leaves out these steps' batches.
    RollBack(Vec<u64>),
    /// The run ends, for this reason.
    Stop(String),
}

/// The faults since the last update. They are the same on every rank, because every rank adds the same.
pub(super) struct Faults {
    settings: FaultsSection,
    /// The faulty steps, from 1.
    in_a_row: Vec<u64>,
    /// The number of updates that had been made when the run last had to roll back.
    rolled_back_at: Option<u64>,
}

impl Faults {
    /// No faults so far. A resumed run begins like this, too, because no checkpoint lies between a fault and the next
    /// update.
    pub fn new(settings: FaultsSection) -> Self {
        Self { settings, in_a_row: Vec::new(), rolled_back_at: None }
    }

    /// Records that a step updated the weights.
    pub fn updated(&mut self) {
        self.in_a_row.clear();
    }

    /// Records that step `step` had a fault, after `updates` updates in total.
    pub fn add(&mut self, step: u64, updates: u64) -> Reaction {
        self.in_a_row.push(step);
        if self.num_in_a_row() < self.settings.max_in_a_row {
            return Reaction::GoOn;
        }
        if self.settings.then == OnFaults::Stop {
            return Reaction::Stop("faults.max_in_a_row is reached".into());
        }
        // There was no update since the last rollback, so another one would lead here again.
        if self.rolled_back_at.is_some_and(|before| updates <= before) {
            return Reaction::Stop("rolling back and leaving batches out did not help".into());
        }
        self.rolled_back_at = Some(updates);
        Reaction::RollBack(std::mem::take(&mut self.in_a_row))
    }

    /// The number of faults since the last update.
    pub fn num_in_a_row(&self) -> u64 {
        self.in_a_row.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(max_in_a_row: u64, then: OnFaults) -> Faults {
        Faults::new(FaultsSection { max_in_a_row, then, ..Default::default() })
    }

    #[test]
    fn only_faults_in_a_row_count() {
        let mut faults = faults(2, OnFaults::Stop);
        for step in (1..20).step_by(2) {
            assert_eq!(faults.add(step, step / 2), Reaction::GoOn);
            faults.updated();
        }
        assert_eq!(faults.add(21, 10), Reaction::GoOn);
        assert!(matches!(faults.add(22, 10), Reaction::Stop(_)));
    }

    #[test]
    fn the_first_fault_can_be_the_last() {
        assert!(matches!(faults(1, OnFaults::Stop).add(1, 0), Reaction::Stop(_)));
    }

    #[test]
    fn a_run_rolls_back_again_only_when_it_has_come_further() {
        let mut faults = faults(2, OnFaults::RollBack);
        faults.add(5, 4);
        assert_eq!(faults.add(6, 4), Reaction::RollBack(vec![5, 6]));
        // The run is back at step 3. Steps 4 and 7 update, and 5 and 6 are left out.
        faults.updated();
        faults.updated();
        faults.add(8, 5);
        assert_eq!(faults.add(9, 5), Reaction::RollBack(vec![8, 9]));
        // The next step that is not left out fails at once.
        faults.add(10, 5);
        assert!(matches!(faults.add(11, 5), Reaction::Stop(_)));
    }
}
