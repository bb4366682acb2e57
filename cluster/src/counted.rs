//! A backend that counts its traffic, for the run's metrics, and reports which operation this rank waits in
//! ([`heartbeat`]).

use std::cell::Cell;

use crate::buffer::{Buffer, BufferMut};
use crate::collective::{Collective, ReduceOp};
use crate::error::CollectiveError;
use crate::heartbeat::{self, Doing};
use crate::pending::Pending;

/// Bytes that this rank has handed to each kind of operation. They are buffer sizes, not what an algorithm sends over
/// the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All-reduced, or reduced and left with the parts' owners.
    pub all_reduce_bytes: u64,
    /// Sent to the next rank of the ring.
    pub ring_bytes: u64,
    /// Given to all ranks: all-gathered or broadcast.
    pub gather_bytes: u64,
}

/// Any backend, and a count of its traffic.
pub struct Counted {
    ranks: Box<dyn Collective>,
    traffic: Cell<Traffic>,
}

impl Counted {
    /// Counts from 0.
    pub fn new(ranks: Box<dyn Collective>) -> Self {
        Self { ranks, traffic: Cell::default() }
    }

    /// The traffic since the last call.
    pub fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }

    fn count(&self, add: impl Fn(&mut Traffic)) {
        let mut traffic = self.traffic.get();
        add(&mut traffic);
        self.traffic.set(traffic);
    }
}

fn bytes(len: usize, size_bytes: usize) -> u64 {
    (len * size_bytes) as u64
}

impl Collective for Counted {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn world_size(&self) -> usize {
        self.ranks.world_size()
    }

    fn local_rank(&self) -> usize {
        self.ranks.local_rank()
    }

    fn local_size(&self) -> usize {
        self.ranks.local_size()
    }

    fn host(&self) -> &str {
        self.ranks.host()
    }

    fn description(&self) -> String {
        self.ranks.description()
    }

    fn is_device_memory(&self, address: *const u8) -> bool {
        self.ranks.is_device_memory(address)
    }

    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError> {
        self.count(|t| t.all_reduce_bytes += bytes(buffer.len(), buffer.element().size_bytes()));
        heartbeat::during(Doing::AllReduce, || self.ranks.all_reduce(buffer, op))
    }

    fn all_gather(&self, send: Buffer, recv: BufferMut, counts: &[usize]) -> Result<(), CollectiveError> {
        self.count(|t| t.gather_bytes += bytes(send.len(), send.element().size_bytes()));
        heartbeat::during(Doing::AllGather, || self.ranks.all_gather(send, recv, counts))
    }

    fn broadcast(&self, buffer: BufferMut, root: usize) -> Result<(), CollectiveError> {
        self.count(|t| t.gather_bytes += bytes(buffer.len(), buffer.element().size_bytes()));
        heartbeat::during(Doing::Broadcast, || self.ranks.broadcast(buffer, root))
    }

    fn pair_exchange(&self, peer: usize, send: &[u8], recv: &mut [u8]) -> Result<(), CollectiveError> {
        self.ranks.pair_exchange(peer, send, recv)
    }

    unsafe fn start_all_reduce<'a>(&'a self, buffer: BufferMut<'a>) -> Result<Pending<'a>, CollectiveError> {
        self.count(|t| t.all_reduce_bytes += bytes(buffer.len(), buffer.element().size_bytes()));
        // SAFETY: as promised to this function.
        Ok(unsafe { self.ranks.start_all_reduce(buffer) }?.known_as(Doing::AllReduce))
    }

    unsafe fn start_reduce_scatter<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        self.count(|t| t.all_reduce_bytes += bytes(buffer.len(), buffer.element().size_bytes()));
        // SAFETY: as promised to this function.
        Ok(unsafe { self.ranks.start_reduce_scatter(buffer, counts) }?.known_as(Doing::ReduceScatter))
    }

    unsafe fn start_all_gather<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        let own_len = counts.get(self.rank()).copied().unwrap_or_default();
        self.count(|t| t.gather_bytes += bytes(own_len, buffer.element().size_bytes()));
        // SAFETY: as promised to this function.
        Ok(unsafe { self.ranks.start_all_gather(buffer, counts) }?.known_as(Doing::AllGather))
    }

    unsafe fn start_ring_exchange<'a>(
        &'a self,
        send: Buffer<'a>,
        recv: BufferMut<'a>,
    ) -> Result<Pending<'a>, CollectiveError> {
        self.count(|t| t.ring_bytes += bytes(send.len(), send.element().size_bytes()));
        // SAFETY: as promised to this function.
        Ok(unsafe { self.ranks.start_ring_exchange(send, recv) }?.known_as(Doing::RingExchange))
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        heartbeat::during(Doing::Barrier, || self.ranks.barrier())
    }

    fn abort(&self, code: i32) -> ! {
        self.ranks.abort(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Solo;

    #[test]
    fn each_kind_is_counted_in_bytes_and_taken_once() {
        let ranks = Counted::new(Box::new(Solo::new()));
        let (send, mut recv) = ([1.0f32, 2.0], [0.0f32; 2]);
        ranks.ring_exchange(send[..].into(), recv[..].as_mut().into()).unwrap();
        ranks.all_reduce(recv[..].as_mut().into(), ReduceOp::Sum).unwrap();
        ranks.all_reduce([7i64][..].as_mut().into(), ReduceOp::Max).unwrap();
        ranks.all_gather(send[..].into(), recv[..].as_mut().into(), &[2]).unwrap();
        ranks.broadcast([0u8][..].as_mut().into(), 0).unwrap();
        assert_eq!(ranks.take_traffic(), Traffic { all_reduce_bytes: 16, ring_bytes: 8, gather_bytes: 9 });
        // SAFETY: with one rank they are complete when they are started.
        unsafe {
            ranks.start_ring_exchange(send[..].into(), recv[..].as_mut().into()).unwrap().wait().unwrap();
            ranks.start_all_reduce(recv[..].as_mut().into()).unwrap().wait().unwrap();
            ranks.start_reduce_scatter(recv[..].as_mut().into(), &[2]).unwrap().wait().unwrap();
            ranks.start_all_gather(recv[..].as_mut().into(), &[2]).unwrap().wait().unwrap();
        }
        assert_eq!(ranks.take_traffic(), Traffic { all_reduce_bytes: 16, ring_bytes: 8, gather_bytes: 8 });
        assert_eq!((recv, ranks.take_traffic()), (send, Traffic::default()));
    }
}
