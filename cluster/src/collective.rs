//! The operations that ranks do together.

use crate::buffer::{Buffer, BufferMut};
use crate::error::CollectiveError;
use crate::pending::Pending;

/// How elements of different ranks become one.
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
/// Unless said otherwise *every rank calls each operation, in the same order*, with the same element type, `counts`,
/// `op` and `root`; a call returns when this rank's buffers may be used again, which need not be when its peers' may.
///
/// The `start_…` operations return at once. What they return is waited for in the order in which they were started, and
/// before any operation that blocks ([`Pending`]).
///
/// Results are deterministic: the same inputs on the same number of ranks give the same bits on every run, and
/// [`all_reduce`](Collective::all_reduce) and [`start_all_reduce`](Collective::start_all_reduce) leave the same bits on
/// every rank. Another number of ranks adds in another order and differs by rounding; so does another backend, and with
/// NCCL another placement of the ranks ([`Nccl`](crate::Nccl) says what that rests on).
///
/// # Errors
/// Each operation returns [`CollectiveError::Mismatch`] if this rank's buffers and counts do not fit together. The
/// ranks are then out of step: [`abort`](Collective::abort) is what remains. A peer or a network that fails ends the
/// process where MPI carries the operation (its default), and is [`CollectiveError::Failed`] where NCCL does.
pub trait Collective: Send {
    /// This process, from 0 to below [`world_size`](Collective::world_size).
    fn rank(&self) -> usize;

    /// How many ranks the job has.
    fn world_size(&self) -> usize;

    /// This process among the ranks of its machine, from 0: the GPU it drives.
    fn local_rank(&self) -> usize;

    /// How many ranks this machine has.
    fn local_size(&self) -> usize;

    /// This machine's name.
    fn host(&self) -> &str;

    /// What carries the operations, for logs: libraries with their versions, and the device.
    fn description(&self) -> String;

    /// Whether what lies at `address` is a [`Memory::Device`](crate::Memory::Device) that this backend carries without
    /// the host. `false` for all of the host's memory, and from backends that know no other.
    fn is_device_memory(&self, _address: *const u8) -> bool {
        false
    }

    /// Replaces every element of `buffer` by its reduction over all ranks. Every rank calls it with equally many
    /// elements.
    ///
    /// # Errors
    /// None today but for what the trait says.
    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError>;

    /// Concatenates the ranks' `send` in rank order into `recv` on every rank. Every rank calls it.
    ///
    /// `send` has `counts[rank]` elements, `recv` the sum of `counts`; a count may be 0.
    /// [`gather_counts`](crate::gather_counts) finds the counts.
    ///
    /// # Errors
    /// Lengths that differ from `counts`; element types that differ.
    fn all_gather(&self, send: Buffer, recv: BufferMut, counts: &[usize]) -> Result<(), CollectiveError>;

    /// Copies `buffer` of rank `root` into every other rank's. Every rank calls it with equally many elements.
    ///
    /// # Errors
    /// `root` is no rank.
    fn broadcast(&self, buffer: BufferMut, root: usize) -> Result<(), CollectiveError>;

    /// Sends `send` to rank + 1 and fills `recv` from rank − 1, the last rank being followed by the first. Every rank
    /// calls it.
    ///
    /// Lengths may differ from rank to rank, and between `send` and `recv`: a rank's `recv` is as long as its
    /// predecessor's `send`. Either may be empty.
    ///
    /// # Errors
    /// `recv` and the predecessor's `send` differ in bytes; element types that differ.
    fn ring_exchange(&self, send: Buffer, recv: BufferMut) -> Result<(), CollectiveError> {
        // SAFETY: both buffers are borrowed until this function returns, and no later is anything under way.
        unsafe { self.start_ring_exchange(send, recv) }?.wait()
    }

    /// Sends `send` to rank `peer` and fills `recv`, which is as long, from it. *These two ranks* call it, each with the
    /// other as `peer`; pairs do not wait for each other. It is for measuring connections, in host memory whatever the
    /// backend.
    ///
    /// # Errors
    /// `peer` is no rank; lengths that differ.
    fn pair_exchange(&self, peer: usize, send: &[u8], recv: &mut [u8]) -> Result<(), CollectiveError>;

    /// Starts replacing every element of `buffer` by its sum over all ranks, added in rank order by MPI, in a fixed
    /// order of its own by NCCL. Every rank calls it with equally many elements.
    ///
    /// # Errors
    /// None today.
    ///
    /// # Safety
    /// Until [`Pending::wait`] has returned `Ok`, nobody frees or touches the buffer's memory, even if what this
    /// returns is dropped or forgotten: then for ever.
    unsafe fn start_all_reduce<'a>(&'a self, buffer: BufferMut<'a>) -> Result<Pending<'a>, CollectiveError>;

    /// Starts the first half of [`start_all_reduce`](Collective::start_all_reduce): of `buffer` this rank's part becomes
    /// the sum, and the other parts stay as they are. Every rank calls it. The sum has the whole's bits with MPI, and
    /// NCCL's order for this operation with NCCL.
    ///
    /// The first `counts[0]` elements are rank 0's part, and so on; a count may be 0. [`part_counts`] are the ones that
    /// an all-reduce takes.
    ///
    /// # Errors
    /// A length that is not the sum of `counts`, or another number of these than of ranks.
    ///
    /// # Safety
    /// As [`start_all_reduce`](Collective::start_all_reduce).
    unsafe fn start_reduce_scatter<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError>;

    /// Starts the second half: every rank's part of `buffer` becomes all ranks'. Every rank calls it.
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

    /// Starts what [`ring_exchange`](Collective::ring_exchange) does. Every rank calls it.
    ///
    /// # Errors
    /// As `ring_exchange`; what a peer has wrong is found by [`Pending::wait`].
    ///
    /// # Safety
    /// As [`start_all_reduce`](Collective::start_all_reduce), of both buffers' memory; that of `send` may be read.
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

    /// Ends every rank of the job; the job's launcher ends with `code`. *Any one* rank calls it, at any time; who
    /// calls it has printed why.
    fn abort(&self, code: i32) -> !;
}

/// Lengths of the parts that `len` elements have for as many ranks: as equal as can be, the longer ones first.
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
