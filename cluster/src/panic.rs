//! A panic on one rank ends the job.
//!
//! Unwinding would drop the MPI backend and so call `MPI_Finalize`, which waits for peers that wait for this rank: the
//! job would hang. So the panic hook, which runs before any unwinding, ends the job.
//!
//! When memory is used up, or a GPU fails, libtorch throws an exception, which arrives here as a panic. Mostly that is
//! no bug, so it has a message and an exit code of its own ([`card`]). (When the machine's memory is used up, the
//! kernel kills a rank instead.)

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};

use mpi::topology::{Communicator, SimpleCommunicator};
use tercet_configs::ExitCode;

use crate::card::{self, CardFailure};
use crate::error::Place;

thread_local! {
    /// This thread tries something that may need more memory than there is.
    static TRIES: Cell<bool> = const { Cell::new(false) };
}

/// Makes panics on any thread end the job. It prints the usual text of a panic, or one line if a GPU has failed or
/// memory is used up. Called once, when the ranks have met.
pub(crate) fn end_on_panic(place: &Place, end: fn(ExitCode)) {
    let place = place.clone();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let failure = words(info.payload()).and_then(card::failure_in);
        if failure.is_some_and(|failure| failure.is_memory) && TRIES.get() {
            return;
        }
        end(tell(&place, failure, || print(info)));
    }));
}

/// Says what went wrong, by `print` if it is no failure of a GPU and no lack of memory, and what the job ends with.
fn tell(place: &Place, failure: Option<CardFailure>, print: impl FnOnce()) -> ExitCode {
    let Some(failure) = failure else {
        print();
        say(&format!("tercet-worker: {place}: panicked: this is a bug; ending every rank of the job\n"));
        return ExitCode::Bug;
    };
    say(&format!("tercet-worker: {}\n", line(place, card::own(), &failure)));
    failure.code
}

/// Writes a line in one piece: ranks, and mpirun itself, may speak at the same time.
fn say(line: &str) {
    eprint!("{line}");
}

/// `rank 5/8 gpu04, GPU 5: out of memory: CUDA out of memory. Tried to allocate 2.00 GiB: set memory_budget …`
fn line(place: &Place, gpu: Option<&str>, failure: &CardFailure) -> String {
    let gpu = gpu.map_or(String::new(), |gpu| format!(", {gpu}"));
    let text = failure.line.trim_end_matches('.');
    format!("{place}{gpu}: {}: {text}: {}", failure.name, failure.remedy())
}

/// Does `work`, which may find that there is not enough memory: the job then goes on, and the error is libtorch's line
/// about it. Any other panic ends the job as ever. If `work` calls a collective, its peers may wait for this rank, and
/// the caller must let the error end the job.
///
/// # Errors
/// Memory was used up.
pub fn unless_out_of_memory<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let before = TRIES.replace(true);
    // What `work` leaves half done, the caller does not use.
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    TRIES.set(before);
    done.or_else(|payload| match words(payload.as_ref()).and_then(card::failure_in) {
        Some(failure) if failure.is_memory => Err(failure.line.to_owned()),
        _ => panic::resume_unwind(payload),
    })
}

/// Ends all ranks, unless they have left the job in good order.
pub(crate) fn abort_all(code: ExitCode) {
    if !mpi::environment::is_finalized() {
        SimpleCommunicator::world().abort(code.code());
    }
}

/// A panic's text.
fn words(payload: &(dyn Any + Send)) -> Option<&str> {
    payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_rank_host_and_gpu_and_what_to_do() {
        let place = Place { rank: 5, world_size: 8, host: "gpu04".into() };
        let failure = card::failure_in("CUDA error: uncorrectable ECC error encountered\nframe #0").unwrap();
        let line = line(&place, Some("GPU 5"), &failure);
        let expected =
            "rank 5/8 gpu04, GPU 5: a memory error of the GPU: CUDA error: uncorrectable ECC error encountered: ";
        assert!(line.starts_with(expected), "{line}");
        assert!(line.contains("take it, or its machine, out of the job") && line.contains("CUDA_LAUNCH_BLOCKING=1"));
        assert_eq!(tell(&place, Some(failure), || unreachable!()), ExitCode::Machine);
        assert_eq!(tell(&place, None, || ()), ExitCode::Bug);
    }

    #[test]
    fn only_a_lack_of_memory_is_survived() {
        assert_eq!(unless_out_of_memory(|| 3), Ok(3));
        let none = unless_out_of_memory(|| panic!("CUDA out of memory. Tried to allocate 2 GiB\nframe"));
        assert_eq!(none, Err::<(), _>("CUDA out of memory. Tried to allocate 2 GiB".into()));
        let other = panic::catch_unwind(|| unless_out_of_memory(|| panic!("CUDA error: device-side assert triggered")));
        assert!(other.is_err() && !TRIES.get());
    }
}
