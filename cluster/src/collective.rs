//! The operations that ranks perform together.

use crate::buffer::{Buffer, BufferMut};
use crate::error::CollectiveError;
use crate::pending::Pending;

/// How elements of different ranks are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceOp {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// What one rank can do with its peers.
///
/// Unless said otherwise, *every rank calls each operation, in the same order*, with the same element type, `counts`,
/// `op` and `root`. A call returns when this rank's buffers may be used again; its peers' buffers may still be in use.
///
/// The `start_…` operations return at once. The caller must wait for them in the order in which they were started, and
/// before any operation that blocks ([`Pending`]).
///
/// With one rank, a `start_…` operation in place has nothing to do. A backend that knows no device memory then takes a
/// buffer in it all the same, and touches nothing.
///
/// Results are deterministic: the same inputs on the same number of ranks give the same bits on every run, and
/// [`all_reduce`](Collective::all_reduce) and [`start_all_reduce`](Collective::start_all_reduce) leave the same bits on
/// every rank. Another number of ranks adds in another order, so its results differ by rounding. The same holds for
/// another backend and, with NCCL, for another placement of the ranks ([`Nccl`](crate::Nccl) says why).
///
/// # Errors
/// Each operation returns [`CollectiveError::Mismatch`] if this rank's buffers and counts do not fit together. The
/// ranks are then out of step, and only [`abort`](Collective::abort) remains. A failing peer or network ends the
/// process if MPI carries the operation (MPI's default), and is [`CollectiveError::Failed`] if NCCL does.
pub trait Collective: Send {
    /// The number of this process, from 0 to below [`world_size`](Collective::world_size).
    fn rank(&self) -> usize;

    /// The number of ranks of the job.
    fn world_size(&self) -> usize;

    /// The number of this process among the ranks of its machine, from 0.
    fn local_rank(&self) -> usize;

    /// The number of ranks on this machine.
    fn local_size(&self) -> usize;

    /// This machine's name.
    fn host(&self) -> &str;

    /// What carries the operations, for logs: libraries with their versions, and the device.
    fn description(&self) -> String;

    /// Whether `address` lies in [`Memory::Device`](crate::Memory::Device) memory that this backend transfers without
    /// the host. It is `false` for all host memory, and always with backends that know no other memory.
    fn is_device_memory(&self, _address: *const u8) -> bool {
        false
    }

    /// Replaces every element of `buffer` by its reduction over all ranks. Every rank calls it with the same number of
    /// elements.
    ///
    /// # Errors
    /// None today except those of the trait.
    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError>;

    /// Concatenates the ranks' `send` in rank order into `recv` on every rank. Every rank calls it.
    ///
    /// `send` has `counts[rank]` elements, and `recv` has the sum of `counts`; a count may be 0.
    /// [`gather_counts`](crate::gather_counts) finds the counts.
    ///
    /// # Errors
    /// Lengths that differ from `counts`; element types that differ.
    fn all_gather(&self, send: Buffer, recv: BufferMut, counts: &[usize]) -> Result<(), CollectiveError>;

    /// Copies `buffer` of rank `root` into that of every other rank. Every rank calls it with the same number of
    /// elements.
    ///
    /// # Errors
    /// `root` is no rank.
    fn broadcast(&self, buffer: BufferMut, root: usize) -> Result<(), CollectiveError>;

    /// Sends `send` to rank + 1 and fills `recv` from rank − 1; the first rank follows the last. Every rank calls it.
    ///
    /// Lengths may differ from rank to rank, and between `send` and `recv`: a rank's `recv` is as long as its
    /// predecessor's `send`. Either may be empty.
    ///
    /// # Errors
    /// `recv` and the predecessor's `send` differ in bytes; element types that differ.
    fn ring_exchange(&self, send: Buffer, recv: BufferMut) -> Result<(), CollectiveError> {
        // SAFETY: both buffers are borrowed until this function returns, and nothing is under way after that.
        unsafe { self.start_ring_exchange(send, recv) }?.wait()
    }

    /// Sends `send` to rank `peer` and fills `recv`, which has the same length, from it. *These two ranks* call it,
    /// each with the other as `peer`; pairs do not wait for each other. It is for measuring connections and uses host
    /// memory with every backend.
    ///
    /// # Errors
    /// `peer` is no rank; lengths that differ.
    fn pair_exchange(&self, peer: usize, send: &[u8], recv: &mut [u8]) -> Result<(), CollectiveError>;

    /// Starts replacing every element of `buffer` by its sum over all ranks. MPI adds in rank order, NCCL in a fixed
    /// order of its own. Every rank calls it with the same number of elements.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Safety
    /// Until [`Pending::wait`] has returned `Ok`, nobody frees or touches the buffer's memory. If the returned value is
    /// dropped or forgotten, this holds for ever.
    unsafe fn start_all_reduce<'a>(&'a self, buffer: BufferMut<'a>) -> Result<Pending<'a>, CollectiveError>;

    /// Starts the first half of [`start_all_reduce`](Collective::start_all_reduce): this rank's part of `buffer`
    /// becomes the sum, and the other parts stay as they are. Every rank calls it. With MPI the sum has the same bits
    /// as that of the whole operation; NCCL adds in the order that it has for this one.
    ///
    /// The first `counts[0]` elements are rank 0's part, and so on; a count may be 0. [`part_counts`] gives the counts
    /// that an all-reduce uses. NCCL works in place on parts of one length, and copies others within the GPU.
    ///
    /// # Errors
    /// The length is not the sum of `counts`, or there is not one count for each rank.
    ///
    /// # Safety
    /// As [`start_all_reduce`](Collective::start_all_reduce).
    unsafe fn start_reduce_scatter<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError>;

    /// Starts the second half: copies every rank's part of `buffer` to all ranks. Every rank calls it.
    ///
    /// # Errors
    /// As [`start_reduce_scatter`](Collective::start_reduce_scatter).
    ///
    /// # Safety
    /// As [`start_all_reduce`](Collective::start_all_reduce).
    unsafe fn start_all_gather<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError>;

    /// Starts a [`ring_exchange`](Collective::ring_exchange). Every rank calls it.
    ///
    /// # Errors
    /// As `ring_exchange`; [`Pending::wait`] finds a peer's mistakes.
    ///
    /// # Safety
    /// As [`start_all_reduce`](Collective::start_all_reduce), for the memory of both buffers; that of `send` may be
    /// read.
    unsafe fn start_ring_exchange<'a>(
        &'a self,
        send: Buffer<'a>,
        recv: BufferMut<'a>,
    ) -> Result<Pending<'a>, CollectiveError>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// None today.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Ends every rank of the job; the job's launcher ends with `code`. *Any one* rank calls it, at any time, after it
    /// has printed why.
    fn abort(&self, code: i32) -> !;
}

/// The lengths of the parts of `len` elements, one for each rank: as equal as possible, the longer ones first.
pub fn part_counts(len: usize, world_size: usize) -> Vec<usize> {
    (0..world_size).map(|rank| len / world_size + usize::from(rank < len % world_size)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_near_equal_and_make_the_whole() {
        assert_eq!(part_counts(10, 4), [3, 3, 2, 2]);
        assert_eq!(part_counts(2, 3), [1, 1, 0]);
        assert_eq!(part_counts(0, 2), [0, 0]);
    }
}
