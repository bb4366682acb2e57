//! The operations that ranks do together.

use crate::buffer::{Buffer, BufferMut};
use crate::error::CollectiveError;

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
/// Results are deterministic: the same inputs on the same number of ranks give the same bits on every run, and
/// [`all_reduce`](Collective::all_reduce) leaves the same bits on every rank. Another number of ranks adds in another
/// order and differs by rounding.
///
/// # Errors
/// Each operation returns [`CollectiveError::Mismatch`] if this rank's buffers and counts do not fit together. The
/// ranks are then out of step: [`abort`](Collective::abort) is what remains. A peer or a network that fails ends the
/// process (MPI's default), it does not return.
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

    /// Replaces every element of `buffer` by its reduction over all ranks. Every rank calls it with equally many
    /// elements.
    ///
    /// # Errors
    /// None today but for what the trait says.
    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError>;

    /// Reduces `send` over all ranks and leaves each rank its part: rank r receives the `counts[r]` elements that
    /// follow the first `counts[0] + … + counts[r-1]`. Every rank calls it.
    ///
    /// `send` has the sum of `counts` elements, `recv` has `counts[rank]`; a count may be 0. Rounding may differ from
    /// [`all_reduce`](Collective::all_reduce)'s.
    ///
    /// # Errors
    /// Lengths that differ from `counts`; element types that differ.
    fn reduce_scatter(
        &self,
        send: Buffer,
        recv: BufferMut,
        counts: &[usize],
        op: ReduceOp,
    ) -> Result<(), CollectiveError>;

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
    fn ring_exchange(&self, send: Buffer, recv: BufferMut) -> Result<(), CollectiveError>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// None today.
    fn barrier(&self) -> Result<(), CollectiveError>;

    /// Ends every rank of the job; the job's launcher ends with `code`. *Any one* rank calls it, at any time; who
    /// calls it has printed why.
    fn abort(&self, code: i32) -> !;
}
