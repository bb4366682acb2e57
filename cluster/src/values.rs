//! Small values that ranks share: counts, flags, and lists whose length only one rank knows.
//!
//! All functions are collective: every rank calls them, in the same order.

use crate::buffer::{Buffer, Scalar};
use crate::collective::{Collective, ReduceOp};
use crate::error::CollectiveError;

/// Every rank's `count`, in rank order. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_gather`].
pub fn gather_counts(ranks: &dyn Collective, count: usize) -> Result<Vec<usize>, CollectiveError> {
    let mut all = vec![0i64; ranks.world_size()];
    // A count of objects in memory is below 2^63.
    ranks.all_gather([count as i64][..].into(), all.as_mut_slice().into(), &vec![1; ranks.world_size()])?;
    Ok(all.into_iter().map(|count| count as usize).collect())
}

/// Every rank's `own`, of whatever length, in rank order. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_gather`].
pub fn gather_ragged<T: Scalar + Default>(ranks: &dyn Collective, own: &[T]) -> Result<Vec<Vec<T>>, CollectiveError> {
    let counts = gather_counts(ranks, own.len())?;
    let mut all = vec![T::default(); counts.iter().sum()];
    ranks.all_gather(Buffer::from(own), all.as_mut_slice().into(), &counts)?;
    let mut rest = &all[..];
    let parts = counts.iter().map(|&count| {
        let (part, tail) = rest.split_at(count);
        rest = tail;
        part.to_vec()
    });
    Ok(parts.collect())
}

/// Replaces `bytes` on every rank by those of rank `root`, of any length. Every rank calls it.
///
/// # Errors
/// As [`Collective::broadcast`].
pub fn broadcast_bytes(ranks: &dyn Collective, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError> {
    let mut len = [bytes.len() as i64];
    ranks.broadcast(len[..].as_mut().into(), root)?;
    bytes.resize(len[0] as usize, 0);
    ranks.broadcast(bytes.as_mut_slice().into(), root)
}

/// Whether `flag` is true on all ranks; all ranks get the same answer. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_reduce`].
pub fn all_ranks(ranks: &dyn Collective, flag: bool) -> Result<bool, CollectiveError> {
    reduce_flag(ranks, flag, ReduceOp::Min)
}

/// Whether `flag` is true on at least one rank; all ranks get the same answer. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_reduce`].
pub fn any_rank(ranks: &dyn Collective, flag: bool) -> Result<bool, CollectiveError> {
    reduce_flag(ranks, flag, ReduceOp::Max)
}

/// As [`any_rank`] for several flags at once. Every rank calls it.
///
/// # Errors
/// As [`Collective::all_reduce`].
pub fn any_rank_each<const N: usize>(ranks: &dyn Collective, flags: [bool; N]) -> Result<[bool; N], CollectiveError> {
    let mut values = flags.map(u8::from);
    ranks.all_reduce(values[..].as_mut().into(), ReduceOp::Max)?;
    Ok(values.map(|value| value != 0))
}

fn reduce_flag(ranks: &dyn Collective, flag: bool, op: ReduceOp) -> Result<bool, CollectiveError> {
    let mut value = [u8::from(flag)];
    ranks.all_reduce(value[..].as_mut().into(), op)?;
    Ok(value[0] != 0)
}
