//! The backend of a single rank: operations copy, or do nothing.

use std::process;

use crate::buffer::{Buffer, BufferMut};
use crate::collective::{Collective, ReduceOp};
use crate::error::{Check, CollectiveError, Place};
use crate::pending::Pending;

/// One rank on its own, without MPI.
#[derive(Debug)]
pub struct Solo {
    place: Place,
}

impl Solo {
    /// Makes the only rank. It cannot fail and starts nothing.
    pub fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = if host.trim().is_empty() { "localhost".to_owned() } else { host.trim().to_owned() };
        Self { place: Place { rank: 0, world_size: 1, host } }
    }

    /// The rank that reports.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Copies `send` to `recv`, for every operation with two buffers.
    fn copy(&self, operation: &'static str, send: Buffer, recv: BufferMut) -> Result<(), CollectiveError> {
        let check = Check { place: &self.place, operation };
        check.same_element(&send, &recv)?;
        check.equal("elements in the receive buffer", send.len(), recv.len())?;
        recv.into_bytes().copy_from_slice(send.as_bytes());
        Ok(())
    }
}

impl Default for Solo {
    fn default() -> Self {
        Self::new()
    }
}

impl Collective for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn local_rank(&self) -> usize {
        0
    }

    fn local_size(&self) -> usize {
        1
    }

    fn host(&self) -> &str {
        &self.place.host
    }

    fn description(&self) -> String {
        "one rank, no communication".into()
    }

    fn all_reduce(&self, _buffer: BufferMut, _op: ReduceOp) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn all_gather(&self, send: Buffer, recv: BufferMut, counts: &[usize]) -> Result<(), CollectiveError> {
        let check = Check { place: &self.place, operation: "all_gather" };
        check.parts(counts, send.len(), recv.len())?;
        self.copy("all_gather", send, recv)
    }

    fn broadcast(&self, _buffer: BufferMut, root: usize) -> Result<(), CollectiveError> {
        Check { place: &self.place, operation: "broadcast" }.root(root)
    }

    fn pair_exchange(&self, peer: usize, send: &[u8], recv: &mut [u8]) -> Result<(), CollectiveError> {
        Check { place: &self.place, operation: "pair_exchange" }.root(peer)?;
        self.copy("pair_exchange", send.into(), recv.into())
    }

    unsafe fn start_all_reduce<'a>(&'a self, _buffer: BufferMut<'a>) -> Result<Pending<'a>, CollectiveError> {
        Ok(Pending::complete())
    }

    unsafe fn start_reduce_scatter<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        Check { place: &self.place, operation: "start_reduce_scatter" }.whole(counts, buffer.len())?;
        Ok(Pending::complete())
    }

    unsafe fn start_all_gather<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        Check { place: &self.place, operation: "start_all_gather" }.whole(counts, buffer.len())?;
        Ok(Pending::complete())
    }

    unsafe fn start_ring_exchange<'a>(
        &'a self,
        send: Buffer<'a>,
        recv: BufferMut<'a>,
    ) -> Result<Pending<'a>, CollectiveError> {
        self.copy("ring_exchange", send, recv)?;
        Ok(Pending::complete())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        process::exit(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Element, Memory};

    #[test]
    fn one_rank_receives_what_it_sends() {
        let solo = Solo::new();
        let send = [1.0f32, 2.0];
        let mut recv = [0.0f32; 2];
        solo.ring_exchange(send[..].into(), recv[..].as_mut().into()).unwrap();
        assert_eq!(recv, send);
        recv.fill(0.0);
        solo.all_gather(send[..].into(), recv[..].as_mut().into(), &[2]).unwrap();
        assert_eq!(recv, send);
        solo.all_reduce(recv[..].as_mut().into(), ReduceOp::Max).unwrap();
        // SAFETY: with one rank, they are complete when they are started.
        unsafe {
            solo.start_all_reduce(recv[..].as_mut().into()).unwrap().wait().unwrap();
            solo.start_reduce_scatter(recv[..].as_mut().into(), &[2]).unwrap().wait().unwrap();
            assert!(solo.start_all_gather(recv[..].as_mut().into(), &[2]).unwrap().poll());
        }
        solo.broadcast(recv[..].as_mut().into(), 0).unwrap();
        solo.barrier().unwrap();
        assert_eq!(recv, send);
        assert_eq!((solo.rank(), solo.world_size(), solo.local_rank(), solo.local_size()), (0, 1, 0, 1));
    }

    /// A rank alone may hand over the memory of a GPU: here an address that nobody may follow.
    #[test]
    fn operations_in_place_touch_nothing() {
        let solo = Solo::new();
        let memory = Memory::Device { stream: 0 };
        // SAFETY: no operation in place touches the memory.
        unsafe {
            let buffer = || BufferMut::from_raw(std::ptr::dangling_mut::<f32>().cast(), 100, Element::F32, memory);
            solo.start_all_reduce(buffer()).unwrap().wait().unwrap();
            solo.start_reduce_scatter(buffer(), &[100]).unwrap().wait().unwrap();
            solo.start_all_gather(buffer(), &[100]).unwrap().wait().unwrap();
        }
    }

    #[test]
    fn arguments_are_checked_as_among_many() {
        let solo = Solo::new();
        let mut recv = [0.0f32; 1];
        assert!(solo.ring_exchange([1.0f32, 2.0][..].into(), recv[..].as_mut().into()).is_err());
        assert!(solo.ring_exchange([1u8, 2, 3, 4][..].into(), recv[..].as_mut().into()).is_err());
        assert!(solo.all_gather([1.0f32][..].into(), recv[..].as_mut().into(), &[1, 0]).is_err());
        assert!(solo.broadcast(recv[..].as_mut().into(), 1).is_err());
        // SAFETY: as above.
        assert!(unsafe { solo.start_reduce_scatter(recv[..].as_mut().into(), &[2]) }.is_err());
    }
}
