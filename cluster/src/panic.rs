//! A panic on one rank ends the job.
//!
//! Unwinding would drop the MPI backend, and with it call `MPI_Finalize`, which waits for peers that wait for this
//! rank: the job would hang. So the panic hook, which runs before any unwinding, ends the job in its place.
//!
//! libtorch says by an exception, which arrives here as a panic, that memory is used up. That is no bug: it has words and a
//! code of its own. (The kernel, when the machine's memory is used up, kills a rank instead.)

use std::panic::{self, PanicHookInfo};

use mpi::topology::{Communicator, SimpleCommunicator};
use tercet_configs::ExitCode;

use crate::error::Place;

/// What libtorch says of a host's memory and of a GPU's, and C++ of either.
const OUT_OF_MEMORY: [&str; 4] = ["can't allocate memory", "Cannot allocate memory", "out of memory", "std::bad_alloc"];

/// Makes panics, on any thread, end the job: with what is printed for every panic, or in words if memory is used up. Called
/// once, when the ranks have met.
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

/// The line that says so.
fn out_of_memory<'a>(info: &'a PanicHookInfo) -> Option<&'a str> {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied())?;
    line_of_memory(text)
}

/// libtorch adds a trace of its own on lines that follow.
fn line_of_memory(text: &str) -> Option<&str> {
    let says = |line: &&str| OUT_OF_MEMORY.iter().any(|words| line.contains(words));
    // A `Result` that was unwrapped has its error in Rust's notation, line feeds included.
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
