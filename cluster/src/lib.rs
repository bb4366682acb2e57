//! Communication between ranks: the [`Collective`] trait and its backends.
//!
//! [`connect`], or [`meet`] and then [`Met::connect`], joins the job that this process was started in and returns its
//! backend: `nccl` (several ranks, each with a GPU), `mpi` (several ranks, host memory) or `solo` (one rank, no
//! communication). The rest of Tercet sees only the trait. The operations work on typed raw memory ([`Buffer`],
//! [`BufferMut`]), so this crate needs no libtorch; users with tensors wrap them.
//!
//! # Lockstep
//! All operations are collective: *every* rank calls the same ones, in the same order, with arguments that fit. A rank
//! that cannot go on must not return early, or its peers would wait for it for ever: it must call
//! [`Collective::abort`]. A panic, on any thread, does so by itself, with code 101, or with the one that a GPU's
//! failure means ([`card`]).
//!
//! This crate neither starts ranks, which the launcher and `mpirun` do, nor decides what is sent when.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod buffer;
pub mod card;
mod collective;
mod connect;
mod counted;
mod error;
pub mod heartbeat;
mod mpi;
mod nccl;
mod panic;
mod pending;
mod ring;
mod solo;
mod values;

pub use crate::buffer::{Buffer, BufferMut, Element, Memory, Scalar};
pub use crate::collective::{Collective, ReduceOp, part_counts};
pub use crate::connect::{Met, connect, meet};
pub use crate::counted::{Counted, Traffic};
pub use crate::error::{CollectiveError, Place};
pub use crate::mpi::{MAX_MESSAGE_BYTES, Mpi, mpi_version};
pub use crate::nccl::{ALIGNED_ELEMENTS, Nccl, nccl_version};
pub use crate::panic::unless_out_of_memory;
pub use crate::pending::Pending;
pub use crate::ring::{block_owners, rank_before};
pub use crate::solo::Solo;
pub use crate::values::{all_ranks, any_rank, any_rank_each, broadcast_bytes, gather_counts, gather_ragged};
