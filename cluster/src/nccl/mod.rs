//! The NCCL backend: GPU memory goes from GPU to GPU, and host memory over MPI.
//!
//! The ranks meet over MPI, choose their GPUs by their local ranks, and make one communicator on a stream of its own.
//! NCCL carries operations on GPU memory ([`Memory::Device`]); MPI carries those on host memory, which hold counts,
//! flags and other small values.
//!
//! # What determinism rests on
//! NCCL promises that an all-reduce leaves identical copies on all ranks (its guide, ncclAllReduce): each sum is
//! computed once and copied. The order of addition is not that of the ranks but that of the rings or trees which NCCL
//! lays through the machines. NCCL picks them by topology, number of ranks, size and its environment variables, and not
//! by which rank is first. So a run on the same machines, with the same NCCL and variables, has the same bits again; on
//! other machines it differs by rounding. This is NCCL's practice and no promise of its guide. The one known exception
//! is a reduction within NVSwitch (NVLS, Hopper and newer), whose order NVIDIA does not document; NCCL_NVLS_ENABLE=0
//! avoids it.
//!
//! # Failure
//! An error that NCCL reports, at once or later, and an operation that outlasts the deadline become
//! [`CollectiveError::Failed`](crate::CollectiveError::Failed), and the communicator is aborted. Operations over MPI
//! fail as MPI does.
//!
//! # Limits
//! docs/gpu.md says which part of this has run on hardware.

mod api;
mod communicator;
mod driver;
mod even;
mod joined;
mod library;
mod run;
mod search;
mod started;

use std::ops::Range;

use crate::buffer::{Buffer, BufferMut, Memory};
use crate::collective::{Collective, ReduceOp};
use crate::error::CollectiveError;
use crate::pending::Pending;
pub use even::ALIGNED_ELEMENTS;
use even::{Copies, Even};
pub use joined::Nccl;
pub use library::nccl_version;
use run::Run;
use started::{Calls, Lengths, Started};

impl Nccl {
    /// Starts `calls`, or nothing if no rank has any element.
    fn start<'a>(
        &'a self,
        operation: &'static str,
        stream: usize,
        num_elements: usize,
        copies: &Copies,
        calls: impl FnOnce(&Calls) -> Result<(), (&'static str, i32)>,
    ) -> Result<Pending<'a>, CollectiveError> {
        if num_elements == 0 {
            return Ok(Pending::complete());
        }
        Ok(Pending::of(Started::new(self, operation, stream, copies, calls)?))
    }

    /// Starts to fill the `parts` of the second run with the ranks' first one.
    fn start_gather<'a>(
        &'a self,
        operation: &'static str,
        stream: usize,
        own_and_whole: (Run, Run),
        parts: &[Range<usize>],
    ) -> Result<Pending<'a>, CollectiveError> {
        let even = Even::for_all((&self.room, &self.device), own_and_whole, parts, self.rank());
        let Even { whole, own, copies } = even.map_err(|problem| self.communicator.fail(operation, problem))?;
        self.start(operation, stream, own_and_whole.1.len, &copies, |calls| calls.all_gather(own, whole))
    }
}

/// The range of each rank's part.
fn ranges(counts: &[usize]) -> Vec<Range<usize>> {
    let stretch = |end: &mut usize, count: &usize| {
        *end += count;
        Some(*end - count..*end)
    };
    counts.iter().scan(0, stretch).collect()
}

fn run(buffer: &BufferMut) -> Run {
    Run { address: buffer.address(), len: buffer.len(), element: buffer.element() }
}

/// The cast to `*mut` is for NCCL's calls only, which do not write through it.
fn run_of(buffer: &Buffer) -> Run {
    Run { address: buffer.address().cast_mut(), len: buffer.len(), element: buffer.element() }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn world_size(&self) -> usize {
        self.place.world_size
    }

    fn local_rank(&self) -> usize {
        self.mpi.local_rank()
    }

    fn local_size(&self) -> usize {
        self.mpi.local_size()
    }

    fn host(&self) -> &str {
        &self.place.host
    }

    fn description(&self) -> String {
        let uuid: String = self.device.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let (name, ordinal) = (&self.device.name, self.device.ordinal);
        format!(
            "{}, GPU {ordinal} {name} {uuid}; {} for host memory",
            self.communicator.description(),
            self.mpi.description()
        )
    }

    fn is_device_memory(&self, address: *const u8) -> bool {
        self.device.has(address)
    }

    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError> {
        let Memory::Device { stream } = buffer.memory() else { return self.mpi.all_reduce(buffer, op) };
        let run = run(&buffer);
        self.start("all_reduce", stream, run.len, &Copies::default(), |calls| calls.all_reduce(run, op))?.wait()
    }

    fn all_gather(&self, send: Buffer, recv: BufferMut, counts: &[usize]) -> Result<(), CollectiveError> {
        let check = self.check("all_gather");
        check.same_memory(&send, &recv)?;
        let Memory::Device { stream } = recv.memory() else { return self.mpi.all_gather(send, recv, counts) };
        check.same_element(&send, &recv)?;
        check.parts(counts, send.len(), recv.len())?;
        let own_and_whole = (run_of(&send), run(&recv));
        self.start_gather("all_gather", stream, own_and_whole, &ranges(counts))?.wait()
    }

    fn broadcast(&self, buffer: BufferMut, root: usize) -> Result<(), CollectiveError> {
        let Memory::Device { stream } = buffer.memory() else { return self.mpi.broadcast(buffer, root) };
        self.check("broadcast").root(root)?;
        let run = run(&buffer);
        self.start("broadcast", stream, run.len, &Copies::default(), |calls| calls.broadcast(run, run, root))?.wait()
    }

    fn pair_exchange(&self, peer: usize, send: &[u8], recv: &mut [u8]) -> Result<(), CollectiveError> {
        self.mpi.pair_exchange(peer, send, recv)
    }

    unsafe fn start_all_reduce<'a>(&'a self, buffer: BufferMut<'a>) -> Result<Pending<'a>, CollectiveError> {
        let Memory::Device { stream } = buffer.memory() else {
            // SAFETY: as promised to this function.
            return unsafe { self.mpi.start_all_reduce(buffer) };
        };
        let run = run(&buffer);
        self.start("start_all_reduce", stream, run.len, &Copies::default(), |calls| {
            calls.all_reduce(run, ReduceOp::Sum)
        })
    }

    unsafe fn start_reduce_scatter<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        let Memory::Device { stream } = buffer.memory() else {
            // SAFETY: as promised to this function.
            return unsafe { self.mpi.start_reduce_scatter(buffer, counts) };
        };
        self.check("start_reduce_scatter").whole(counts, buffer.len())?;
        let (operation, buffer) = ("start_reduce_scatter", run(&buffer));
        let even = Even::for_own((&self.room, &self.device), buffer, &ranges(counts), self.rank());
        let Even { whole, own, copies } = even.map_err(|problem| self.communicator.fail(operation, problem))?;
        self.start(operation, stream, buffer.len, &copies, |calls| calls.reduce_scatter(whole, own))
    }

    unsafe fn start_all_gather<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        let Memory::Device { stream } = buffer.memory() else {
            // SAFETY: as promised to this function.
            return unsafe { self.mpi.start_all_gather(buffer, counts) };
        };
        self.check("start_all_gather").whole(counts, buffer.len())?;
        let (whole, parts) = (run(&buffer), ranges(counts));
        let own = &parts[self.rank()];
        let own = whole.part(own.start, own.len());
        self.start_gather("start_all_gather", stream, (own, whole), &parts)
    }

    unsafe fn start_ring_exchange<'a>(
        &'a self,
        send: Buffer<'a>,
        recv: BufferMut<'a>,
    ) -> Result<Pending<'a>, CollectiveError> {
        let check = self.check("ring_exchange");
        check.same_memory(&send, &recv)?;
        let Memory::Device { stream } = recv.memory() else {
            // SAFETY: as promised to this function.
            return unsafe { self.mpi.start_ring_exchange(send, recv) };
        };
        check.same_element(&send, &recv)?;
        let (send, recv) = (run_of(&send), run(&recv));
        let size_bytes = send.element.size_bytes();
        let lengths = Lengths::announce(self, check, send.len * size_bytes, recv.len * size_bytes)?;
        let [next, previous] = self.mpi.neighbours();
        let calls = |calls: &Calls| calls.exchange(send, next, recv, previous);
        Ok(Pending::of(Started::new(self, "ring_exchange", stream, &Copies::default(), calls)?.with(lengths)))
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.mpi.barrier()
    }

    fn abort(&self, code: i32) -> ! {
        // MPI ends the process, and so NCCL's work on the GPU.
        self.mpi.abort(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_one_behind_the_other() {
        assert_eq!(ranges(&[2, 0, 3]), [0..2, 2..2, 2..5]);
    }
}
