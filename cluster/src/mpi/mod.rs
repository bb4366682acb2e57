//! The MPI backend: several ranks, host memory.
//!
//! MPI counts are 32-bit, so a large operation is done in pieces of at most [`MAX_MESSAGE_BYTES`].
//!
//! # What determinism rests on
//! The non-blocking sums, which gradients use, are computed here, in rank order. For the blocking reductions, all ranks
//! use one communicator and hand MPI the same sizes on every run. Open MPI picks its algorithm by message size and
//! number of ranks alone, and these fix the order in which it combines. It computes each sum either once and spreads
//! it, or as mirrored sums (a + b here, b + a there) that IEEE 754 makes equal. MPI recommends this to every library
//! (MPI 4.0, section 6.9.1) and requires that all ranks end with the same result.
//!
//! # Operations under way
//! Each has a tag of its own and a number, and they are settled in the order of their numbers. Nothing here runs beside
//! the ranks' own work: messages move only while MPI is called, by polling or waiting.
//!
//! # Failure
//! MPI's default error handler stays in place: a failing peer or network ends the job with MPI's own message.

mod joined;
mod messages;
mod started;

use ::mpi::collective::{CommunicatorCollectives, Root, SystemOperation};
use ::mpi::datatype::{Equivalence, PartitionMut};
use ::mpi::environment::library_version;
use ::mpi::point_to_point::send_receive_into;
use ::mpi::topology::Communicator;
use ::mpi::{Count, Rank};

use crate::buffer::{Buffer, BufferMut, Element};
use crate::collective::{Collective, ReduceOp, part_counts};
use crate::error::CollectiveError;
use crate::pending::Pending;
pub use joined::{MAX_MESSAGE_BYTES, Mpi};
use started::{Halves, InParts, Ring, Started};

/// The MPI library's description of itself, in one line; MPI need not have been initialised.
pub fn mpi_version() -> String {
    // Open MPI appends its packager and dates after commas.
    library_version().unwrap_or_default().split([',', '\n', '\0']).next().unwrap_or_default().trim().to_owned()
}

/// Runs `$body` with `$scalar` as the Rust type of `$element`.
macro_rules! with_scalar {
    ($element:expr, $scalar:ident => $body:expr) => {
        match $element {
            Element::F32 => {
                type $scalar = f32;
                $body
            }
            Element::F64 => {
                type $scalar = f64;
                $body
            }
            Element::I64 => {
                type $scalar = i64;
                $body
            }
            Element::U8 => {
                type $scalar = u8;
                $body
            }
            Element::BF16 => unreachable!("refused before"),
        }
    };
}

impl Mpi {
    /// # Safety
    /// As [`Collective::start_all_reduce`].
    unsafe fn start_in_parts<'a>(&'a self, buffer: BufferMut<'a>, counts: &[usize], halves: Halves) -> Pending<'a> {
        if self.is_alone() {
            return Pending::complete();
        }
        with_scalar!(buffer.element(), T => {
            let values = buffer.into_slice::<T>();
            // SAFETY: as promised to this function.
            Pending::of(Started::new(self, |messages| unsafe {
                InParts::start(self, messages, values, counts, halves)
            }))
        })
    }

    fn all_reduce_typed<T: Equivalence + Copy>(&self, values: &mut [T], op: SystemOperation) {
        let world = self.world();
        let mut own = Vec::new();
        for piece in values.chunks_mut(self.piece_len::<T>()) {
            own.clear();
            own.extend_from_slice(piece);
            world.all_reduce_into(&own[..], piece, op);
        }
    }

    fn broadcast_from(&self, bytes: &mut [u8], root: usize) {
        let world = self.world();
        let process = world.process_at_rank(root as Rank);
        for piece in bytes.chunks_mut(self.max_message_bytes) {
            process.broadcast_into(piece);
        }
    }
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.place.rank
    }

    fn world_size(&self) -> usize {
        self.place.world_size
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn local_size(&self) -> usize {
        self.local_size
    }

    fn host(&self) -> &str {
        &self.place.host
    }

    fn description(&self) -> String {
        let version = library_version().unwrap_or_default();
        version.split(',').next().unwrap_or_default().trim().to_owned()
    }

    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError> {
        self.check("all_reduce").reducible(buffer.element())?;
        with_scalar!(buffer.element(), T => self.all_reduce_typed::<T>(buffer.into_slice(), operation(op)));
        Ok(())
    }

    fn all_gather(&self, send: Buffer, recv: BufferMut, counts: &[usize]) -> Result<(), CollectiveError> {
        let check = self.check("all_gather");
        check.same_element(&send, &recv)?;
        check.parts(counts, send.len(), recv.len())?;
        let size_bytes = send.element().size_bytes();
        let (send, recv) = (send.as_bytes(), recv.into_bytes());
        if recv.is_empty() {
            return Ok(()); // on every rank
        }
        // An empty slice of bytes may lie at address 1, which means MPI_IN_PLACE to Open MPI.
        let send = if send.is_empty() { &[0][..0] } else { send };
        if recv.len() <= self.max_message_bytes {
            let counts: Vec<Count> = counts.iter().map(|count| (count * size_bytes) as Count).collect();
            let offsets: Vec<Count> =
                counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
            self.world().all_gather_varcount_into(send, &mut PartitionMut::new(recv, counts, offsets));
            return Ok(());
        }
        // Too much for one message: each rank in turn broadcasts its part.
        let mut rest = recv;
        for (root, count) in counts.iter().enumerate() {
            let (part, tail) = rest.split_at_mut(count * size_bytes);
            rest = tail;
            if root == self.place.rank {
                part.copy_from_slice(send);
            }
            self.broadcast_from(part, root);
        }
        Ok(())
    }

    fn broadcast(&self, buffer: BufferMut, root: usize) -> Result<(), CollectiveError> {
        self.check("broadcast").root(root)?;
        self.broadcast_from(buffer.into_bytes(), root);
        Ok(())
    }

    fn pair_exchange(&self, peer: usize, send: &[u8], recv: &mut [u8]) -> Result<(), CollectiveError> {
        let check = self.check("pair_exchange");
        check.root(peer)?;
        check.equal("bytes in the receive buffer", send.len(), recv.len())?;
        let world = self.world();
        let process = world.process_at_rank(peer as Rank);
        for (send, recv) in send.chunks(self.max_message_bytes).zip(recv.chunks_mut(self.max_message_bytes)) {
            send_receive_into(send, &process, recv, &process);
        }
        Ok(())
    }

    unsafe fn start_all_reduce<'a>(&'a self, buffer: BufferMut<'a>) -> Result<Pending<'a>, CollectiveError> {
        self.check("start_all_reduce").reducible(buffer.element())?;
        let counts = part_counts(buffer.len(), self.place.world_size);
        // SAFETY: as promised to this function.
        Ok(unsafe { self.start_in_parts(buffer, &counts, Halves::AllReduce) })
    }

    unsafe fn start_reduce_scatter<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        let check = self.check("start_reduce_scatter");
        check.reducible(buffer.element())?;
        check.whole(counts, buffer.len())?;
        // SAFETY: as promised to this function.
        Ok(unsafe { self.start_in_parts(buffer, counts, Halves::ReduceScatter) })
    }

    unsafe fn start_all_gather<'a>(
        &'a self,
        buffer: BufferMut<'a>,
        counts: &[usize],
    ) -> Result<Pending<'a>, CollectiveError> {
        self.check("start_all_gather").whole(counts, buffer.len())?;
        if self.is_alone() {
            return Ok(Pending::complete());
        }
        let size_bytes = buffer.element().size_bytes();
        let counts: Vec<usize> = counts.iter().map(|count| count * size_bytes).collect();
        // SAFETY: as promised to this function.
        Ok(unsafe { self.start_in_parts(buffer.into_bytes().into(), &counts, Halves::AllGather) })
    }

    unsafe fn start_ring_exchange<'a>(
        &'a self,
        send: Buffer<'a>,
        recv: BufferMut<'a>,
    ) -> Result<Pending<'a>, CollectiveError> {
        self.check("ring_exchange").same_element(&send, &recv)?;
        // SAFETY: as promised to this function.
        Ok(Pending::of(Started::new(self, |messages| unsafe { Ring::start(self, messages, send, recv) })))
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.world().barrier();
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        self.end(code)
    }
}

fn operation(op: ReduceOp) -> SystemOperation {
    match op {
        ReduceOp::Sum => SystemOperation::sum(),
        ReduceOp::Max => SystemOperation::max(),
        ReduceOp::Min => SystemOperation::min(),
    }
}
