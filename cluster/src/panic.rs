//! A panic on one rank ends the job.
//!
//! Unwinding would drop the MPI backend and so call `MPI_Finalize`, which waits for peers that wait for this rank: the
//! job would hang. So the panic hook, which runs before any unwinding, ends the job.
//!
//! When memory is used up, libtorch throws an exception, which arrives here as a panic. That is not a bug, so it has a
//! message and an exit code of its own. (When the machine's memory is used up, the kernel kills a rank instead.)

use std::panic::{self, PanicHookInfo};

use mpi::topology::{Communicator, SimpleCommunicator};
use tercet_configs::ExitCode;

use crate::error::Place;

/// What libtorch says when host memory or GPU memory is used up, and what C++ says.
const OUT_OF_MEMORY: [&str; 4] = ["can't allocate memory", "Cannot allocate memory", "out of memory", "std::bad_alloc"];

/// Makes panics on any thread end the job. It prints the usual text of a panic, or one line if memory is used up.
/// Called once, when the ranks have met.
pub(crate) fn end_on_panic(place: &Place, end: fn(ExitCode)) {
    let place = place.clone();
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| match out_of_memory(info) {
        Some(text) => {
            eprintln!(
                "tercet-worker: {place}: out of memory: {text}: lower sub_batch_tokens, set memory_budget, or have fewer \
                 ranks share this machine"
            );
            end(ExitCode::Machine);
        }
        None => {
            print(info);
            eprintln!("tercet-worker: {place}: panicked: this is a bug; ending every rank of the job");
            end(ExitCode::Bug);
        }
    }));
}

/// Ends all ranks, unless they have left the job in good order.
pub(crate) fn abort_all(code: ExitCode) {
    if !mpi::environment::is_finalized() {
        SimpleCommunicator::world().abort(code.code());
    }
}

/// The line that says that memory is used up.
fn out_of_memory<'a>(info: &'a PanicHookInfo) -> Option<&'a str> {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied())?;
    line_of_memory(text)
}

/// Only one line is taken, because libtorch appends a trace of its own.
fn line_of_memory(text: &str) -> Option<&str> {
    let says = |line: &&str| OUT_OF_MEMORY.iter().any(|words| line.contains(words));
    // An unwrapped `Result` shows its error in Rust's notation, with line feeds as `\n`.
    let line = text.lines().flat_map(|line| line.split("\\n")).find(says)?;
    line.rsplit("Torch(\"").next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorchs_words_are_found_and_others_are_not() {
        let cpu = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail] DefaultCPUAllocator: can't allocate \
                   memory: you tried to allocate 4096 bytes.\\nframe #0: f()\\n\")";
        assert_eq!(
            line_of_memory(cpu).unwrap(),
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."
        );
        assert_eq!(line_of_memory("CUDA out of memory. Tried to allocate 2 GiB\nframe").unwrap().len(), 43);
        assert_eq!(line_of_memory("index out of bounds: the len is 3 but the index is 3"), None);
    }
}
