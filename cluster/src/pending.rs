//! Operations that are under way while their rank computes.

use crate::error::CollectiveError;
use crate::heartbeat::{self, Doing};

/// What a backend does for an operation under way.
pub(crate) trait Operation {
    /// Moves it on; whether it is complete. With `block` it returns when it is.
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError>;

    /// It has been complete, and its rank has waited for it.
    fn settle(&mut self) {}
}

/// An operation that was started and is not yet waited for.
///
/// Operations are waited for in the order in which they were started, and all of them before a blocking one: ranks in
/// lockstep then cannot wait for each other. The MPI backend holds its callers to it by panicking.
///
/// One that is dropped instead, as when an error is on its way up, is abandoned: it may go on reading and writing its
/// memory, nobody waits, and no other operation can follow but [`Collective::abort`](crate::Collective::abort).
#[must_use = "an operation that is never waited for leaves the ranks out of step"]
pub struct Pending<'a> {
    /// None once it is complete, or if it was from the start.
    operation: Option<Box<dyn Operation + 'a>>,
    progress: Progress,
    /// What its rank is doing while it waits for it.
    doing: Doing,
}

enum Progress {
    UnderWay,
    Complete,
    Failed(CollectiveError),
}

impl<'a> Pending<'a> {
    /// One that was complete when it was started.
    pub(crate) fn complete() -> Self {
        Self { operation: None, progress: Progress::Complete, doing: Doing::Computing }
    }

    pub(crate) fn of(operation: impl Operation + 'a) -> Self {
        Self { operation: Some(Box::new(operation)), progress: Progress::UnderWay, doing: Doing::Computing }
    }

    /// Who waits for it is `doing` this.
    pub(crate) fn known_as(mut self, doing: Doing) -> Self {
        self.doing = doing;
        self
    }

    /// Whether it has ended, well or not, without waiting for it. The MPI backend moves data only within calls, so who
    /// computes for long polls now and then.
    pub fn poll(&mut self) -> bool {
        self.advance(false);
        !matches!(self.progress, Progress::UnderWay)
    }

    /// Returns when its buffers may be used again.
    ///
    /// # Errors
    /// What the operation that was started says.
    pub fn wait(mut self) -> Result<(), CollectiveError> {
        if matches!(self.progress, Progress::UnderWay) {
            heartbeat::during(self.doing, || self.advance(true));
        }
        if let Progress::Failed(error) = std::mem::replace(&mut self.progress, Progress::Complete) {
            return Err(error);
        }
        if let Some(mut operation) = self.operation.take() {
            operation.settle();
        }
        Ok(())
    }

    fn advance(&mut self, block: bool) {
        if let (Progress::UnderWay, Some(operation)) = (&self.progress, &mut self.operation) {
            match operation.advance(block) {
                Ok(true) => self.progress = Progress::Complete,
                Ok(false) => {}
                Err(error) => self.progress = Progress::Failed(error),
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // The backend may still be writing into what the operation owns.
        std::mem::forget(self.operation.take());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Complete after so many calls; counts those of `settle`.
    struct After<'a>(usize, &'a Cell<usize>);

    impl Operation for After<'_> {
        fn advance(&mut self, block: bool) -> Result<bool, CollectiveError> {
            if self.0 == usize::MAX {
                return Err(CollectiveError::Join("it failed".into()));
            }
            self.0 = if block { 0 } else { self.0 - 1 };
            Ok(self.0 == 0)
        }

        fn settle(&mut self) {
            self.1.set(self.1.get() + 1);
        }
    }

    #[test]
    fn polling_ends_when_it_is_complete_and_only_waiting_settles() {
        let settled = Cell::new(0);
        let mut pending = Pending::of(After(2, &settled));
        assert_eq!([pending.poll(), pending.poll(), pending.poll()], [false, true, true]);
        assert_eq!(settled.get(), 0);
        pending.wait().unwrap();
        Pending::of(After(5, &settled)).wait().unwrap();
        drop(Pending::of(After(5, &settled)));
        assert_eq!(settled.get(), 2);
        assert!(Pending::complete().poll() && Pending::complete().wait().is_ok());
    }

    #[test]
    fn a_failure_found_by_polling_is_what_waiting_returns() {
        let settled = Cell::new(0);
        let mut pending = Pending::of(After(usize::MAX, &settled));
        assert!(pending.poll());
        assert!(pending.wait().unwrap_err().to_string().contains("it failed"));
        assert_eq!(settled.get(), 0);
    }
}
