//! Operations under way while their rank computes.

use crate::error::CollectiveError;
use crate::heartbeat::{self, Doing};

/// A backend's side of an operation under way.
pub(crate) trait Operation {
    /// Advances it, and returns whether it is complete. With `block` it returns when it is.
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError>;

    /// Called once it is complete and its rank has waited for it.
    fn settle(&mut self) {}
}

/// An operation that was started and has not been waited for.
///
/// Operations must be waited for in the order in which they were started, and all of them before a blocking one; ranks
/// in lockstep then cannot wait for each other. The MPI backend panics if its caller does otherwise.
///
/// One that is dropped instead, as while an error is returned, is abandoned: it may go on reading and writing its
/// memory, nobody waits for it, and only [`Collective::abort`](crate::Collective::abort) may follow.
#[must_use = "an operation that is never waited for leaves the ranks out of step"]
pub struct Pending<'a> {
    /// None once it is complete, or if it was from the start.
    operation: Option<Box<dyn Operation + 'a>>,
    progress: Progress,
    /// What its rank reports while it waits for it.
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

    /// Sets what its rank reports while it waits for it.
    pub(crate) fn known_as(mut self, doing: Doing) -> Self {
        self.doing = doing;
        self
    }

    /// Whether it has ended, well or not, without waiting for it. The MPI backend moves data only within calls, so a
    /// caller that computes for long should poll now and then.
    pub fn poll(&mut self) -> bool {
        self.advance(false);
        !matches!(self.progress, Progress::UnderWay)
    }

    /// Returns when its buffers may be used again.
    ///
    /// # Errors
    /// Those of the operation that was started.
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
        // The backend may still be writing into memory that the operation owns.
        std::mem::forget(self.operation.take());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Complete after this number of calls; counts the calls of `settle`.
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
