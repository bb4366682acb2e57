//! The ranks of an MPI job as one of them sees them: who they are, and which operations are under way.

use std::cell::Cell;

use ::mpi::Tag;
use ::mpi::environment::{Threading, Universe, initialize_with_threading, processor_name};
use ::mpi::topology::{Communicator, SimpleCommunicator};

use tercet_configs::ExitCode;

use super::messages::Messages;
use crate::error::{Check, CollectiveError, Place};
use crate::panic::{abort_all, end_on_panic};
use crate::ring::rank_before;

/// The largest single MPI message. It is far below the 2^31 elements that MPI can count, large enough for full
/// bandwidth, and small enough that an all-reduce's copy of it is negligible beside a model.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// The number of tags of operations under way, used in turn; MPI guarantees 32,768.
const NUM_TAGS: u64 = 1 << 15;

/// The ranks of an MPI job. Dropping it finalises MPI and waits until every rank does so.
pub struct Mpi {
    pub(super) place: Place,
    pub(super) local_rank: usize,
    pub(super) local_size: usize,
    pub(super) max_message_bytes: usize,
    /// The number of non-blocking operations started so far.
    num_started: Cell<u64>,
    /// The number of these that have been waited for.
    num_settled: Cell<u64>,
    // The last field, so that nothing of MPI outlives it.
    universe: Universe,
}

impl Mpi {
    /// Initialises MPI and makes panics abort the job. Every rank calls it once, with the same `max_message_bytes`
    /// ([`MAX_MESSAGE_BYTES`], or less in tests of split messages; from 8 bytes to 1 GiB).
    ///
    /// # Errors
    /// [`CollectiveError::Join`] if this process has initialised MPI before, or its MPI cannot be used by a process
    /// with threads.
    pub fn join(max_message_bytes: usize) -> Result<Self, CollectiveError> {
        // Only the thread that owns the backend calls MPI, but it need not be the thread that initialised it.
        let (universe, threading) = initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| CollectiveError::Join("this process has initialised MPI before".into()))?;
        let world = universe.world();
        let place = Place {
            rank: world.rank() as usize,
            world_size: world.size() as usize,
            host: processor_name().unwrap_or_else(|_| "unknown host".into()),
        };
        end_on_panic(&place, abort_all);
        if threading < Threading::Serialized {
            return Err(CollectiveError::Join(format!(
                "{place}: this MPI offers thread level {threading:?}, and Serialized is needed"
            )));
        }
        let machine = world.split_shared(world.rank());
        let (local_rank, local_size) = (machine.rank() as usize, machine.size() as usize);
        let max_message_bytes = max_message_bytes.clamp(8, 1 << 30);
        let (num_started, num_settled) = Default::default();
        Ok(Self { place, local_rank, local_size, max_message_bytes, num_started, num_settled, universe })
    }

    /// The communicator of all ranks, for an operation that blocks.
    pub(super) fn world(&self) -> SimpleCommunicator {
        assert!(self.is_settled(), "an operation under way is waited for before one that blocks");
        self.universe.world()
    }

    fn is_settled(&self) -> bool {
        self.num_started == self.num_settled
    }

    /// The number of an operation that starts now.
    pub(super) fn next_number(&self) -> u64 {
        self.num_started.replace(self.num_started.get() + 1)
    }

    /// The number of the operation that is waited for next.
    pub(super) fn turn(&self) -> u64 {
        self.num_settled.get()
    }

    /// The operation with this number has been waited for.
    pub(super) fn settled(&self, number: u64) {
        self.num_settled.set(number + 1);
    }

    /// The messages of the operation with this number.
    pub(super) fn messages(&self, number: u64) -> Messages {
        Messages::new(self.universe.world(), (number % NUM_TAGS) as Tag, self.max_message_bytes)
    }

    /// The next and the previous rank of the ring.
    pub(crate) fn neighbours(&self) -> [usize; 2] {
        let Place { rank, world_size, .. } = self.place;
        [(rank + 1) % world_size, rank_before(rank, world_size)]
    }

    /// The other ranks, the next one first, so that the ranks do not all send to the same one at once.
    pub(super) fn peers(&self) -> impl Iterator<Item = usize> + use<> {
        let Place { rank, world_size, .. } = self.place;
        (1..world_size).map(move |distance| (rank + distance) % world_size)
    }

    /// Whether there is nobody to exchange anything with.
    pub(super) fn is_alone(&self) -> bool {
        self.place.world_size == 1
    }

    pub(super) fn check(&self, operation: &'static str) -> Check<'_> {
        Check { place: &self.place, operation }
    }

    /// The number of elements in one message.
    pub(super) fn piece_len<T>(&self) -> usize {
        self.max_message_bytes / size_of::<T>()
    }

    /// Ends the job at once, whatever is under way.
    pub(super) fn end(&self, code: i32) -> ! {
        self.universe.world().abort(code)
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if !self.is_settled() {
            // Finalising would wait for peers that wait for this rank.
            eprintln!("{}: the rank left the job with an operation under way: this is a bug", self.place);
            self.end(ExitCode::Bug.code());
        }
    }
}
