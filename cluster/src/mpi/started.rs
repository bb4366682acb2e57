//! The non-blocking operations. Each consists of a first and a second group of messages.

use std::ops::Add;

use super::joined::Mpi;
use super::messages::Messages;
use crate::buffer::{Buffer, BufferMut, Scalar};
use crate::error::CollectiveError;
use crate::pending::Operation;

/// The number of elements summed at a time: so few that their sums stay in the nearest cache while the ranks' parts
/// stream by.
const SUMMED_ELEMENTS: usize = 1 << 11;

/// An operation with its number in the order of all that were started.
pub(super) struct Started<'a, O> {
    mpi: &'a Mpi,
    number: u64,
    operation: O,
}

impl<'a, O> Started<'a, O> {
    /// Starts the operation that `operation` makes from its messages.
    pub fn new(mpi: &'a Mpi, operation: impl FnOnce(Messages) -> O) -> Self {
        let number = mpi.next_number();
        Self { mpi, number, operation: operation(mpi.messages(number)) }
    }
}

impl<O: Operation> Operation for Started<'_, O> {
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError> {
        let turn = self.mpi.turn();
        assert!(!block || self.number == turn, "operations are waited for in the order in which they were started");
        self.operation.advance(block)
    }

    fn settle(&mut self) {
        self.mpi.settled(self.number);
    }
}

/// Sends a block to the next rank and receives one from the previous.
///
/// The length is sent first: MPI would silently fill a buffer that is too long only in part, and wait for ever for a
/// missing piece.
pub(super) struct Ring<'a> {
    mpi: &'a Mpi,
    messages: Messages,
    send: &'a [u8],
    /// None once the data are under way.
    recv: Option<&'a mut [u8]>,
    own_len: Box<[u8; 8]>,
    announced: Box<[u8; 8]>,
}

impl<'a> Ring<'a> {
    /// # Safety
    /// As [`Collective::start_ring_exchange`](crate::Collective::start_ring_exchange).
    pub unsafe fn start(mpi: &'a Mpi, mut messages: Messages, send: Buffer<'a>, recv: BufferMut<'a>) -> Self {
        let (send, recv) = (send.as_bytes(), recv.into_bytes());
        let own_len = Box::new((send.len() as u64).to_ne_bytes());
        let mut announced = Box::new([0; 8]);
        let [next, previous] = mpi.neighbours();
        // SAFETY: both boxes belong to the operation, which is not dropped before it is complete.
        unsafe {
            messages.receive(previous, &mut announced[..]);
            messages.send(next, &own_len[..]);
        }
        Self { mpi, messages, send, recv: Some(recv), own_len, announced }
    }
}

impl Operation for Ring<'_> {
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError> {
        if !self.messages.advance(block) {
            return Ok(false);
        }
        let Some(recv) = self.recv.take() else { return Ok(true) };
        let [next, previous] = self.mpi.neighbours();
        debug_assert_eq!(u64::from_ne_bytes(*self.own_len), self.send.len() as u64, "MPI left it alone");
        let announced = u64::from_ne_bytes(*self.announced);
        let check = self.mpi.check("ring_exchange");
        check.equal(&format!("bytes from rank {previous}"), recv.len() as u64, announced)?;
        // No rank waits before both directions are under way, so a ring of any length cannot block.
        // SAFETY: the operation's caller leaves both buffers alone until it has waited for it.
        unsafe {
            self.messages.receive(previous, recv);
            self.messages.send(next, self.send);
        }
        Ok(self.messages.advance(block))
    }
}

/// The halves that an [`InParts`] performs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halves {
    /// Each rank sums its part.
    ReduceScatter,
    /// Each rank sends its part to all.
    AllGather,
    /// One after the other.
    AllReduce,
}

/// A buffer whose parts belong to the ranks, one each.
///
/// To sum, every rank sends each owner its part directly, and the owner adds the contributions in rank order. So the
/// result depends neither on MPI's algorithm nor on which rank is first, and a rank sends no more than in the ring
/// algorithm, which no algorithm undercuts.
pub(super) struct InParts<'a, T> {
    mpi: &'a Mpi,
    messages: Messages,
    /// In the order of their owners.
    parts: Vec<&'a mut [T]>,
    stage: Stage<T>,
}

enum Stage<T> {
    /// Receiving the other ranks' values of this rank's part, stored in rank order.
    Reducing { contributions: Vec<T>, then_gather: bool },
    /// The last messages are under way.
    Last,
}

impl<'a, T: Scalar + Add<Output = T>> InParts<'a, T> {
    /// # Safety
    /// As [`Collective::start_all_reduce`](crate::Collective::start_all_reduce).
    pub unsafe fn start(
        mpi: &'a Mpi,
        messages: Messages,
        mut values: &'a mut [T],
        counts: &[usize],
        halves: Halves,
    ) -> Self {
        let parts = counts.iter().map(|count| {
            let (part, rest) = std::mem::take(&mut values).split_at_mut(*count);
            values = rest;
            part
        });
        let mut own = Self { mpi, messages, parts: parts.collect(), stage: Stage::Last };
        // SAFETY: the caller leaves the buffer alone until it has waited for the operation.
        unsafe {
            match halves {
                Halves::AllGather => own.gather(),
                Halves::ReduceScatter => own.reduce(false),
                Halves::AllReduce => own.reduce(true),
            }
        }
        own
    }

    /// # Safety
    /// As [`InParts::start`].
    unsafe fn reduce(&mut self, then_gather: bool) {
        let (rank, world_size) = (self.mpi.place.rank, self.parts.len());
        let own = &self.parts[rank];
        // These initial values are overwritten.
        let mut contributions = own.repeat(world_size - 1);
        if !own.is_empty() {
            let others = (0..world_size).filter(|from| *from != rank);
            for (from, part) in others.zip(contributions.chunks_mut(own.len())) {
                // SAFETY: the vector belongs to the operation, which is not dropped before it is complete.
                unsafe { self.messages.receive(from, BufferMut::from(part).into_bytes()) };
            }
        }
        for to in self.mpi.peers() {
            // SAFETY: the caller leaves the buffer alone, and this operation writes to it after all is sent.
            unsafe { self.messages.send(to, Buffer::from(&*self.parts[to]).as_bytes()) };
        }
        self.stage = Stage::Reducing { contributions, then_gather };
    }

    /// # Safety
    /// As [`InParts::start`].
    unsafe fn gather(&mut self) {
        for peer in self.mpi.peers() {
            // SAFETY: the caller leaves the buffer alone; parts do not overlap.
            unsafe {
                self.messages.receive(peer, BufferMut::from(&mut *self.parts[peer]).into_bytes());
                self.messages.send(peer, Buffer::from(&*self.parts[self.mpi.place.rank]).as_bytes());
            }
        }
        self.stage = Stage::Last;
    }
}

impl<T: Scalar + Add<Output = T>> Operation for InParts<'_, T> {
    fn advance(&mut self, block: bool) -> Result<bool, CollectiveError> {
        if !self.messages.advance(block) {
            return Ok(false);
        }
        let Stage::Reducing { contributions, then_gather } = std::mem::replace(&mut self.stage, Stage::Last) else {
            return Ok(true);
        };
        let rank = self.mpi.place.rank;
        let (before, after) = contributions.split_at(rank * self.parts[rank].len());
        sum_in_order(before, self.parts[rank], after);
        if then_gather {
            // SAFETY: as promised to `start`; the earlier messages are complete.
            unsafe { self.gather() };
        }
        Ok(self.messages.advance(block))
    }
}

/// Adds runs of equal length in order: those in `before`, `own`, and those in `after`. The sums end in `own`.
fn sum_in_order<'r, T: Scalar + Add<Output = T>>(before: &'r [T], own: &mut [T], after: &'r [T]) {
    let len = own.len();
    let mut kept = Vec::with_capacity(SUMMED_ELEMENTS.min(len));
    for (i, sums) in own.chunks_mut(SUMMED_ELEMENTS).enumerate() {
        let (at, end) = (i * SUMMED_ELEMENTS, i * SUMMED_ELEMENTS + sums.len());
        kept.clear();
        kept.extend_from_slice(sums);
        let stretch = |run: &'r [T]| &run[at..end];
        let runs = before.chunks(len).map(stretch).chain([&kept[..]]).chain(after.chunks(len).map(stretch));
        for (nth, run) in runs.enumerate() {
            match nth {
                0 => sums.copy_from_slice(run),
                _ => sums.iter_mut().zip(run).for_each(|(sum, value)| *sum = *sum + *value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_taken_from_the_first_to_the_last() {
        let len = SUMMED_ELEMENTS + 3;
        // (big + small) + -big loses the small number; another order would not.
        let runs = [vec![1e30f32; len], vec![1.0; len], vec![-1e30; len], vec![2.0; len]];
        for rank in 0..4 {
            let mut own = runs[rank].clone();
            sum_in_order(&runs[..rank].concat(), &mut own, &runs[rank + 1..].concat());
            assert_eq!(own, vec![2.0; len], "rank {rank}");
        }
        sum_in_order::<f32>(&[], &mut [], &[]);
    }
}
