//! A panic on one rank ends the job.
//!
//! Unwinding would drop the MPI backend, and with it call `MPI_Finalize`, which waits for peers that wait for this
//! rank: the job would hang. So the panic hook, which runs before any unwinding, aborts the job in its place.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use mpi::topology::{Communicator, SimpleCommunicator};
use tercet_configs::ExitCode;

use crate::error::Place;

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Makes panics, on any thread, print as before and then abort the job. Called once, when MPI has been initialised.
pub(crate) fn abort_on_panic(place: &Place) {
    let place = place.clone();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if CONTAINED.get() {
            return;
        }
        print(info);
        if !mpi::environment::is_finalized() {
            eprintln!("{place}: panicked: this is a bug; ending every rank of the job");
            SimpleCommunicator::world().abort(ExitCode::Bug.code());
        }
    }));
}

/// Runs `work`; a panic in it, on this thread, is returned as its message and does not end the job.
///
/// For third-party code that panics where it should return an error, and whose failure the run survives.
///
/// # Errors
/// The panic's message.
pub fn contain_panic<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let outer = CONTAINED.replace(true);
    // What `work` leaves half done is the caller's to throw away: it sees the error.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contained_panic_is_its_message() {
        assert_eq!(contain_panic(|| 1), Ok(1));
        assert_eq!(contain_panic(|| panic!("disk full")), Err::<(), _>("disk full".to_owned()));
        assert_eq!(contain_panic(|| panic!("{} full", "disk")), Err::<(), _>("disk full".to_owned()));
        assert!(!CONTAINED.get());
    }
}
