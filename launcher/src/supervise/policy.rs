//! Whether a run that has failed is started again, and when.

use std::time::Duration;

use tercet_configs::{ExitCode, RestartSection};

/// The longest pause before a restart.
const MAX_BACKOFF_SECS: f64 = 300.0;

/// How ranks failed.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// The exit code it means.
    pub code: i32,
    /// A rank said it itself, and no signal, machine or hang ended it.
    pub said: bool,
    /// The launcher was asked to stop.
    pub interrupted: bool,
    /// A step has been done, by these ranks or by those before.
    pub has_stepped: bool,
}

/// Counts restarts in a row.
#[derive(Debug)]
pub struct Policy {
    settings: RestartSection,
    in_a_row: u32,
    newest_checkpoint: Option<u64>,
}

impl Policy {
    /// As the recipe says.
    pub fn new(settings: RestartSection) -> Self {
        Self { settings, in_a_row: 0, newest_checkpoint: None }
    }

    /// There is a checkpoint of `step`: a new one, if it is later than those before.
    pub fn checkpoint(&mut self, step: u64) {
        if self.newest_checkpoint.is_none_or(|newest| newest < step) {
            self.newest_checkpoint = Some(step);
            self.in_a_row = 0;
        }
    }

    /// The pause before the next restart, or none if there is to be no restart.
    pub fn after(&mut self, failure: Failure) -> Option<Duration> {
        let never = [ExitCode::Usage, ExitCode::Data, ExitCode::Preempted].map(ExitCode::code);
        // A failure before the first step would come again, and the user is still watching.
        let hopeless = failure.said && !failure.has_stepped;
        if failure.interrupted || hopeless || never.contains(&failure.code) || self.in_a_row >= self.settings.limit {
            return None;
        }
        let secs = self.settings.backoff_secs * 2f64.powi(self.in_a_row.min(30) as i32);
        self.in_a_row += 1;
        Some(Duration::from_secs_f64(secs.min(MAX_BACKOFF_SECS.max(self.settings.backoff_secs))))
    }

    /// Whether there were restarts, and as many in a row as there may be.
    pub fn is_spent(&self) -> bool {
        self.in_a_row > 0 && self.in_a_row >= self.settings.limit
    }

    /// `restart 2 of 3`
    pub fn count(&self) -> String {
        format!("restart {} of {}", self.in_a_row, self.settings.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Failure = Failure { code: 3, said: false, interrupted: false, has_stepped: true };

    fn policy(limit: u32) -> Policy {
        Policy::new(RestartSection { limit, backoff_secs: 2.0, ..RestartSection::default() })
    }

    #[test]
    fn restarts_in_a_row_wait_longer_and_end() {
        let mut policy = policy(3);
        let secs = |policy: &mut Policy| policy.after(KILLED).map(|pause| pause.as_secs());
        assert_eq!([(); 4].map(|()| secs(&mut policy)), [Some(2), Some(4), Some(8), None]);
        policy.checkpoint(10);
        assert_eq!(secs(&mut policy), Some(2));
        policy.checkpoint(10);
        assert_eq!(secs(&mut policy), Some(4), "the same checkpoint again is no progress");
        let mut long = self::policy(20);
        assert_eq!((0..20).filter_map(|_| secs(&mut long)).max(), Some(300));
    }

    #[test]
    fn mistakes_bad_data_and_wishes_are_no_reason_to_start_again() {
        for code in [2, 4, 75] {
            assert_eq!(policy(3).after(Failure { code, ..KILLED }), None);
        }
        for code in [3, 101] {
            assert!(policy(3).after(Failure { code, said: true, ..KILLED }).is_some());
            assert_eq!(policy(3).after(Failure { code, said: true, has_stepped: false, ..KILLED }), None);
        }
        assert!(policy(3).after(Failure { has_stepped: false, ..KILLED }).is_some());
        assert_eq!(policy(3).after(Failure { interrupted: true, ..KILLED }), None);
        assert_eq!(policy(0).after(KILLED), None);
    }
}
