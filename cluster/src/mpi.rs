//! The MPI backend: several ranks, host memory.
//!
//! MPI counts are 32-bit, so a large operation is done in pieces of at most [`MAX_MESSAGE_BYTES`].
//!
//! # What determinism rests on
//! All operations are blocking, use one communicator, and hand MPI the same sizes on every run. Open MPI picks its
//! algorithm by message size and number of ranks alone, combines in an order that these fix, and of each sum computes
//! either one and spreads it, or mirrored ones (a + b here, b + a there) that IEEE 754 makes equal. MPI recommends
//! as much to every library (MPI 4.0, section 6.9.1) and asks that all ranks end with the same result.
//!
//! # Failure
//! MPI's default error handler stays: a failing peer or network ends the job with MPI's own message.

use ::mpi::collective::{CommunicatorCollectives, Root, SystemOperation};
use ::mpi::datatype::{Equivalence, PartitionMut};
use ::mpi::environment::{Threading, Universe, initialize_with_threading, processor_name};
use ::mpi::point_to_point::{Destination, Source, send_receive_into};
use ::mpi::topology::{Communicator, SimpleCommunicator};
use ::mpi::{Count, Rank, request};

use crate::buffer::{Buffer, BufferMut, Element, Scalar};
use crate::collective::{Collective, ReduceOp};
use crate::error::{Check, CollectiveError, Place};
use crate::panic::abort_on_panic;

/// The largest single MPI message: far below the 2^31 elements that MPI can count, large enough for full bandwidth,
/// and small enough that an all-reduce's copy of one does not show beside a model.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The ranks of an MPI job. Dropping it finalises MPI, which waits until every rank does so.
pub struct Mpi {
    place: Place,
    local_rank: usize,
    local_size: usize,
    max_message_bytes: usize,
    // Last: nothing of MPI outlives it.
    universe: Universe,
}

/// Runs `$body` with `$scalar` being the Rust type of `$element`.
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
        }
    };
}

impl Mpi {
    /// Initialises MPI and makes panics abort the job. Every rank calls it once, with the same `max_message_bytes`
    /// ([`MAX_MESSAGE_BYTES`], or less to see messages being split; from 8 bytes to 1 GiB).
    ///
    /// # Errors
    /// [`CollectiveError::Join`] if this process has initialised MPI before, or its MPI cannot be used by a process
    /// with threads.
    pub fn join(max_message_bytes: usize) -> Result<Self, CollectiveError> {
        // Only the thread that owns the backend calls MPI, but it need not be the one that was first.
        let (universe, threading) = initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| CollectiveError::Join("this process has initialised MPI before".into()))?;
        let world = universe.world();
        let place = Place {
            rank: world.rank() as usize,
            world_size: world.size() as usize,
            host: processor_name().unwrap_or_else(|_| "unknown host".into()),
        };
        abort_on_panic(&place);
        if threading < Threading::Serialized {
            return Err(CollectiveError::Join(format!(
                "{place}: this MPI offers threads at level {threading:?} only, Serialized is needed"
            )));
        }
        let machine = world.split_shared(world.rank());
        let (local_rank, local_size) = (machine.rank() as usize, machine.size() as usize);
        Ok(Self { place, local_rank, local_size, max_message_bytes: max_message_bytes.clamp(8, 1 << 30), universe })
    }

    fn world(&self) -> SimpleCommunicator {
        self.universe.world()
    }

    fn check(&self, operation: &'static str) -> Check<'_> {
        Check { place: &self.place, operation }
    }

    /// How many elements go into one message.
    fn piece_len<T>(&self) -> usize {
        self.max_message_bytes / size_of::<T>()
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

    fn reduce_scatter_typed<T: Equivalence + Scalar>(
        &self,
        mut send: &[T],
        recv: &mut [T],
        counts: &[usize],
        op: SystemOperation,
    ) {
        let world = self.world();
        for (root, count) in counts.iter().enumerate() {
            let (part, rest) = send.split_at(*count);
            send = rest;
            let process = world.process_at_rank(root as Rank);
            let pieces = part.chunks(self.piece_len::<T>());
            if root == self.place.rank {
                for (piece, reduced) in pieces.zip(recv.chunks_mut(self.piece_len::<T>())) {
                    process.reduce_into_root(piece, reduced, op);
                }
            } else {
                pieces.for_each(|piece| process.reduce_into(piece, op));
            }
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

    fn all_reduce(&self, buffer: BufferMut, op: ReduceOp) -> Result<(), CollectiveError> {
        with_scalar!(buffer.element(), T => self.all_reduce_typed::<T>(buffer.into_slice(), operation(op)));
        Ok(())
    }

    fn reduce_scatter(
        &self,
        send: Buffer,
        recv: BufferMut,
        counts: &[usize],
        op: ReduceOp,
    ) -> Result<(), CollectiveError> {
        let check = self.check("reduce_scatter");
        check.same_element(&send, &recv)?;
        check.parts(counts, recv.len(), send.len())?;
        with_scalar!(send.element(), T => {
            self.reduce_scatter_typed::<T>(send.as_slice(), recv.into_slice(), counts, operation(op));
        });
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
        // An empty slice of bytes may lie at address 1, which to Open MPI means MPI_IN_PLACE.
        let send = if send.is_empty() { &[0][..0] } else { send };
        if recv.len() <= self.max_message_bytes {
            let counts: Vec<Count> = counts.iter().map(|count| (count * size_bytes) as Count).collect();
            let offsets: Vec<Count> =
                counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
            self.world().all_gather_varcount_into(send, &mut PartitionMut::new(recv, counts, offsets));
            return Ok(());
        }
        // Too much for one message: each rank in turn gives its part to all.
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

    fn ring_exchange(&self, send: Buffer, recv: BufferMut) -> Result<(), CollectiveError> {
        let check = self.check("ring_exchange");
        check.same_element(&send, &recv)?;
        let (send, recv) = (send.as_bytes(), recv.into_bytes());
        let Place { rank, world_size, .. } = self.place;
        let (next, previous) = ((rank + 1) % world_size, (rank + world_size - 1) % world_size);
        let world = self.world();
        let (to, from) = (world.process_at_rank(next as Rank), world.process_at_rank(previous as Rank));

        // The length first: MPI would fill a long buffer halfway without a word, and wait for ever for a missing piece.
        let mut announced = [0u64];
        send_receive_into(&[send.len() as u64][..], &to, &mut announced[..], &from);
        check.equal(&format!("bytes from rank {previous}"), recv.len() as u64, announced[0])?;

        // Nobody waits before both directions are under way, so a ring of any length cannot block. Pieces between two
        // ranks arrive in the order in which they were sent.
        request::scope(|scope| {
            let pieces = recv.chunks_mut(self.max_message_bytes);
            let received: Vec<_> = pieces.map(|piece| from.immediate_receive_into(scope, piece)).collect();
            let pieces = send.chunks(self.max_message_bytes);
            let sent: Vec<_> = pieces.map(|piece| to.immediate_send(scope, piece)).collect();
            received.into_iter().chain(sent).for_each(|request| request.wait_without_status());
        });
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.world().barrier();
        Ok(())
    }

    fn abort(&self, code: i32) -> ! {
        self.world().abort(code)
    }
}

fn operation(op: ReduceOp) -> SystemOperation {
    match op {
        ReduceOp::Sum => SystemOperation::sum(),
        ReduceOp::Max => SystemOperation::max(),
        ReduceOp::Min => SystemOperation::min(),
    }
}
