//! Point-to-point messages under way: bytes in pieces that MPI can count.

use ::mpi::point_to_point::{Destination, Source};
use ::mpi::request::{Request, StaticScope};
use ::mpi::topology::{Communicator, SimpleCommunicator};
use ::mpi::{Rank, Tag};

/// The messages that one operation sends and receives at a time. Between two ranks, pieces with one tag arrive in the
/// order in which they were sent, so a receiver needs to know only the lengths.
pub(super) struct Messages {
    world: SimpleCommunicator,
    tag: Tag,
    max_bytes: usize,
    requests: Vec<Request<'static, [u8]>>,
}

impl Messages {
    /// No messages yet. `tag` keeps them apart from those of other operations, and a piece has at most `max_bytes`.
    pub fn new(world: SimpleCommunicator, tag: Tag, max_bytes: usize) -> Self {
        Self { world, tag, max_bytes, requests: Vec::new() }
    }

    /// Starts sending `bytes` to rank `to`.
    ///
    /// # Safety
    /// Until [`Messages::advance`] has returned true, nobody writes to or frees the memory.
    pub unsafe fn send(&mut self, to: usize, bytes: &[u8]) {
        let process = self.world.process_at_rank(to as Rank);
        // SAFETY: MPI reads through this reference until the request is complete, and the caller's promise lasts as
        // long.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        let pieces = bytes.chunks(self.max_bytes);
        self.requests.extend(pieces.map(|piece| process.immediate_send_with_tag(StaticScope, piece, self.tag)));
    }

    /// Starts filling `bytes` from rank `from`, which sends the same number of bytes.
    ///
    /// # Safety
    /// Until [`Messages::advance`] has returned true, nobody else reads, writes or frees the memory.
    pub unsafe fn receive(&mut self, from: usize, bytes: &mut [u8]) {
        let process = self.world.process_at_rank(from as Rank);
        // SAFETY: as in `send`, and only MPI writes.
        let bytes: &'static mut [u8] = unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr(), bytes.len()) };
        let pieces = bytes.chunks_mut(self.max_bytes);
        self.requests.extend(pieces.map(|piece| process.immediate_receive_into_with_tag(StaticScope, piece, self.tag)));
    }

    /// Lets MPI work, and returns whether all messages are complete. With `block` it returns when they are.
    pub fn advance(&mut self, block: bool) -> bool {
        let requests = std::mem::take(&mut self.requests);
        if block {
            requests.into_iter().for_each(|request| request.wait_without_status());
        } else {
            self.requests = requests.into_iter().filter_map(|request| request.test().err()).collect();
        }
        self.requests.is_empty()
    }
}
