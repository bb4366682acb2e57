//! A panic on one rank ends the job.
//!
//! Unwinding would drop the MPI backend, and with it call `MPI_Finalize`, which waits for peers that wait for this
//! rank: the job would hang. So the panic hook, which runs before any unwinding, aborts the job in its place.

use std::panic;

use mpi::topology::{Communicator, SimpleCommunicator};
use tercet_configs::ExitCode;

use crate::error::Place;

/// Makes panics, on any thread, print as before and then abort the job. Called once, when MPI has been initialised.
pub(crate) fn abort_on_panic(place: &Place) {
    let place = place.clone();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        print(info);
        if !mpi::environment::is_finalized() {
            eprintln!("{place}: panicked: this is a bug; ending every rank of the job");
            SimpleCommunicator::world().abort(ExitCode::Bug.code());
        }
    }));
}
